/** The style sheet of the report page: dark text on white, one column on paper and on narrow screens. */
export const PAGE_STYLE = `
:root { --ink: #1a1a1a; --soft: #555; --line: #d9d9d9; --faint: #f6f6f4; color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 44px 32px 56px; }
h1 { font-size: 31px; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 10px; text-wrap: balance; overflow-wrap: anywhere; }
h2 { font-size: 20px; line-height: 1.3; margin: 52px 0 12px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 0; font-weight: 600; }
p { margin: 0 0 12px; max-width: 78ch; }
.lead { font-size: 17px; color: var(--soft); margin-bottom: 16px; }
.note, figcaption { font-size: 13.5px; line-height: 1.5; color: var(--soft); max-width: 92ch; }
a { color: #00518a; text-underline-offset: 2px; }
.downloads a { margin-right: 18px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; line-height: 1.4; margin: 6px 0 12px; }
th, td { padding: 8px 10px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 1.5px solid #8a8a8a; font-weight: 600; vertical-align: bottom; }
thead th small, td small { display: block; font-size: 12px; font-weight: 400; color: var(--soft); white-space: nowrap; }
th:first-child, td:first-child { padding-left: 2px; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody th { font-weight: 600; overflow-wrap: anywhere; }
tbody th small { font-size: 12.5px; font-weight: 400; color: var(--soft); margin-left: 6px; }
tr.base td, tr.base th { background: var(--faint); }
.glyph { width: 13px; height: 13px; margin-right: 8px; vertical-align: -1px; overflow: visible; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 28px; align-items: start; }
figure { margin: 8px 0 20px; }
figure svg { display: block; width: 100%; height: auto; max-width: var(--natural); }
figcaption { margin-top: 6px; }
.narrow { max-width: 520px; }
.sample { margin: 0 0 26px; border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
.sample h3 { background: var(--faint); padding: 11px 16px; border-bottom: 1px solid var(--line); }
.sample h3 span { display: block; font-size: 12px; font-weight: 400; color: var(--soft); }
.sample table { margin: 0; table-layout: fixed; }
.sample th:first-child { padding-left: 16px; }
.sample td:last-child, .sample thead th:last-child { padding-right: 16px; }
.sample tbody tr:last-child > * { border-bottom: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; font-family: Georgia, "Liberation Serif", serif; font-size: 15px; }
h3 bdi { white-space: pre-wrap; overflow-wrap: anywhere; font-family: Georgia, "Liberation Serif", serif; font-weight: 400; font-size: 16px; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 14px 28px; margin: 8px 0 16px; }
dl div { border-left: 2px solid var(--line); padding-left: 12px; }
dt { font-size: 12.5px; color: var(--soft); overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
@media (max-width: 640px) { main { padding: 24px 16px 40px; } h1 { font-size: 25px; } }
@media print {
  @page { margin: 14mm; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .downloads { display: none; }
  .pair { grid-template-columns: 1fr 1fr; gap: 12px; }
  h2 { margin-top: 26px; break-after: avoid; }
  table { font-size: 9pt; }
  th, td { padding: 4px 6px; }
  figure, .sample, tr { break-inside: avoid; }
  * { print-color-adjust: exact; }
}
`;
