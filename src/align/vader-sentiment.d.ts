declare module "vader-sentiment" {
  /** Hutto & Gilbert 2014; scores in [0, 1] and their normalised sum in [-1, 1]. */
  export const SentimentIntensityAnalyzer: {
    polarity_scores(text: string): { neg: number; neu: number; pos: number; compound: number };
  };
}
