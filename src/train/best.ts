/** The best weights so far: kept on the GPU while training goes on, and told by held-out results. */
import { createParameters, type Parameters } from "../nn/parameters.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** What is remembered of the best evaluation. JSON, for checkpoints. */
export interface BestState {
  /** Undefined before the first evaluation. */
  readonly bestStep?: number | undefined;
  readonly bestScore?: number | undefined;
  /** Evaluations since then. */
  readonly worse: number;
}

/** Keeps a copy of a model's weights. */
export interface Best {
  readonly state: BestState;
  /** The copy by name, for checkpoints. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** Copies the weights if `score` is higher than before. Returns true after `patience` evaluations in a row that were not (0: never). */
  consider(step: number, score: number): boolean;
  /** Puts the best weights back into the model. */
  takeBack(): void;
  /** Continues from a checkpoint whose tensors have been written already. */
  restore(state: BestState): void;
  dispose(): void;
}

/** Begins without a best. */
export function createBest(parameters: Parameters, patience: number): Best {
  const copy = createParameters(parameters.device, parameters.specs, {
    trainable: false,
    label: "copy",
  });
  let state: BestState = { worse: 0 };
  return {
    get state() {
      return state;
    },
    tensors: new Map([...copy].map(([name, tensor]) => [`best.${name}`, tensor])),
    consider(step, score) {
      if (state.bestScore === undefined || score > state.bestScore) {
        copy.copyFrom(parameters);
        state = { bestStep: step, bestScore: score, worse: 0 };
      } else state = { ...state, worse: state.worse + 1 };
      return patience > 0 && state.worse >= patience;
    },
    takeBack() {
      if (state.bestStep !== undefined) parameters.copyFrom(copy);
    },
    restore: (restored) => (state = restored),
    dispose: () => copy.dispose(),
  };
}
