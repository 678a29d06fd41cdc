"""The style sheet of the report, for paper and screen, light and dark."""

CSS = """
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1c1e21; --soft: #5d646d; --rule: #d9dce0; --wash: #f5f6f7; --good: #1a7f4f; --bad: #c22f2f; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #15171a; --ink: #e6e7e9; --soft: #9aa1ab; --rule: #31353b; --wash: #1d2024; --good: #4fc38b;
  --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 48px 28px 96px; max-width: 1000px; background: var(--paper); color: var(--ink);
  font: 16px/1.55 Charter, "Bitstream Charter", "Iowan Old Style", Georgia, serif; }
h1 { font-size: 1.9em; line-height: 1.2; margin: 0 0 .3em; }
h2 { font-size: 1.3em; margin: 2.6em 0 .2em; padding-top: 1em; border-top: 1px solid var(--rule); }
h3 { font-size: .95em; margin: 1.2em 0 .3em; }
p { max-width: 68ch; margin: .4em 0 .8em; }
.soft, figcaption, .question { color: var(--soft); }
.question { font-style: italic; margin-bottom: 1.2em; }
table, summary { font-family: system-ui, -apple-system, "Segoe UI",
  "DejaVu Sans", sans-serif; }
table { border-collapse: collapse; font-size: .8em; line-height: 1.35; margin: .4em 0 1.2em; }
.wide { overflow-x: auto; }
th { font-weight: 600; text-align: right; border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }
td { text-align: right; border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums; }
th, td { padding: .35em .8em; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; min-width: 9em; }
.tables { display: flex; flex-wrap: wrap; gap: 0 56px; align-items: flex-start; }
.tables section { max-width: 100%; }
.text td { text-align: left; } .text th { text-align: left; }
.text td { white-space: normal; overflow-wrap: anywhere; }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 600; }
.verdict { border-left: 4px solid var(--good); background: var(--wash); padding: .6em 1em; margin: 1.2em 0; }
.verdict.broken { border-color: var(--bad); } .verdict.broken strong { color: var(--bad); }
.verdict p, .verdict ul { margin: .2em 0; max-width: none; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr)); gap: 8px 32px; }
.plots figure { margin: 0 0 1em; min-width: 0; }
figcaption { font-size: .88em; margin-bottom: .3em; } figcaption b { color: var(--ink); }
.plots img { display: block; width: 100%; height: auto; border-radius: 4px; }
details { margin: .2em 0 .6em; } summary { font-size: .76em; color: var(--soft); cursor: pointer; }
.picture { margin: 0 0 1.5em; } .picture img { max-width: 100%; }
.claims { padding-left: 0; list-style: none; font-size: .92em; } .claims li { margin: .15em 0; }
@media print { body { padding: 0; font-size: 11pt; } h2, figure { break-inside: avoid; } }
"""
