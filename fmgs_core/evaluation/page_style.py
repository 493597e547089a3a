"""How a report looks: system type, one accent per line of a curve, light and dark from the same rules."""

THEMES = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1b1d21; --soft: #5f6670; --rule: #dfe2e6; --alert: #a8420c;
  --line-0: #2563a8; --line-1: #c2571a; --line-2: #2f855a; --line-3: #7d51b5; --line-4: #8f6b00; --line-5: #b83268;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --ink: #e4e6e9; --soft: #9aa1ab; --rule: #33373d; --alert: #f0a070;
    --line-0: #7db0ea; --line-1: #f0955a; --line-2: #6cc795; --line-3: #bb9bea; --line-4: #dcb94a; --line-5: #ee86b0;
  }
}
"""
"""Colours for light and for dark surroundings."""

STYLE = (
    THEMES
    + """
* { box-sizing: border-box; margin: 0; }
body {
  background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-variant-numeric: tabular-nums;
  max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem;
}
section { margin-top: 2.75rem; }
h1 { font-size: 1.6rem; line-height: 1.25; font-weight: 600; }
h2, summary { font-size: 1rem; font-weight: 600; margin-bottom: .9rem; }
h3 { font-size: .9rem; font-weight: 600; }
.soft, figcaption, dt, th, .unit { color: var(--soft); font-weight: 400; }

.headlines { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1.25rem 1.5rem; }
.headlines div {
  display: flex; flex-direction: column-reverse; justify-content: flex-end;
  border-top: 1px solid var(--rule); padding-top: .6rem;
}
.headlines dd { font-size: 1.75rem; line-height: 1.2; }
.headlines .unit { font-size: .95rem; }
.more { columns: 19rem; column-gap: 3rem; margin-top: 1.75rem; }
.more div {
  display: flex; justify-content: space-between; gap: 1rem;
  break-inside: avoid; border-bottom: 1px solid var(--rule); padding: .3rem 0;
}
.more dd { text-align: right; }

.warnings { border-left: 3px solid var(--alert); padding-left: 1rem; }
.warnings h2 { margin-bottom: .3rem; }
ul { padding: 0; list-style: none; }

.pictures { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 1rem .75rem; }
img { display: block; width: 100%; height: auto; }
figcaption { font-size: .8rem; line-height: 1.4; margin-top: .35rem; }

.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 2rem 2.5rem; }
.curves > div { display: flex; flex-direction: column; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1.1rem; font-size: .8rem; }
.legend li::before {
  content: ""; display: inline-block; width: 1em; margin-right: .45em; vertical-align: .25em;
  border-top: 2px var(--dash) var(--line);
}
svg { display: block; width: 100%; height: auto; overflow: visible; padding-top: .6rem; margin-top: auto; }

table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-size: .8rem; }
td, th { padding: .3rem 1.5rem .3rem 0; border-bottom: 1px solid var(--rule); vertical-align: baseline; }
td.number, th.number { text-align: right; white-space: nowrap; }
.timings td { overflow-wrap: break-word; }
.timings td:last-child { width: 50%; padding-right: 0; }
.bar { height: .5rem; background: var(--line-0); min-width: 1px; }
summary { cursor: pointer; }
details table { font-size: .85rem; }

@media (max-width: 40rem) {
  body { padding-top: 1.5rem; }
  section { margin-top: 2.25rem; }
  .headlines { grid-template-columns: 1fr 1fr; }
  .timings td:last-child { width: 35%; }
  .pictures { grid-template-columns: repeat(var(--phone-columns), minmax(0, 1fr)); }
}
"""
)
