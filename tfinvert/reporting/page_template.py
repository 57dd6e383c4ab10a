"""HTML template and style sheet of the report."""

from __future__ import annotations

from string import Template

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1f2328; --soft: #59636e; --line: #d8dee4; --accent: #0072b2;
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink); font-size: 16px; line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 48px 32px 64px; }
header { border-bottom: 3px solid var(--accent); padding-bottom: 20px; margin-bottom: 28px; }
h1 { font-size: 32px; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 12px; }
h2 { font-size: 21px; line-height: 1.3; margin: 44px 0 14px; }
h3 { font-size: 16px; line-height: 1.4; margin: 0 0 10px; }
.lead { font-size: 18px; line-height: 1.5; color: var(--soft); margin: 0; max-width: 48em; }
.chapter-lead { margin: 0 0 12px; max-width: 52em; }
summary { cursor: pointer; color: var(--soft); margin: 0 0 10px; }
.findings { margin: 0 0 18px; padding-left: 1.3em; max-width: 52em; }
.findings li { margin: 0 0 7px; padding-left: 0.2em; }
.findings li::marker { color: var(--accent); }
h1, .lead, li, h3, figcaption, th, td, dt, dd { overflow-wrap: anywhere; }
figure { margin: 0 0 36px; }
.picture { border: 1px solid var(--line); border-radius: 6px; padding: 14px; overflow: hidden; }
.picture img, .picture svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.picture img.enlarged { image-rendering: pixelated; }
.rows {
  display: grid; gap: 6px; align-items: center; justify-content: start;
  grid-template-columns: fit-content(9em) repeat(var(--columns), minmax(0, var(--width)));
}
.rows span { font-size: 14.5px; line-height: 1.3; text-align: right; padding-right: 6px; }
.rows img { width: 100%; }
figcaption { color: var(--soft); font-size: 14.5px; margin-top: 9px; max-width: 58em; }
.number { color: var(--soft); font-weight: 400; margin-right: 0.35em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 15px; font-variant-numeric: tabular-nums; }
table { border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink); min-width: 50%; }
th, td { padding: 7px 18px; text-align: left; vertical-align: top; overflow-wrap: normal; }
th { border-bottom: 1px solid var(--ink); font-weight: 600; vertical-align: bottom; }
tbody tr + tr td { border-top: 1px solid var(--line); }
th.number-cell, td.number-cell { text-align: right; white-space: nowrap; }
dl {
  display: grid; grid-template-columns: minmax(9em, max-content) 1fr; margin: 0;
  font-size: 14.5px; border-top: 1px solid var(--line);
}
dt, dd { margin: 0; padding: 6px 18px 6px 0; border-bottom: 1px solid var(--line); }
dt { color: var(--soft); max-width: 20em; }
@media (max-width: 640px) {
  main { padding: 28px 18px 40px; }
  h1 { font-size: 26px; }
  .picture { padding: 10px; }
  .rows { grid-template-columns: repeat(var(--columns), minmax(0, 12em)); gap: 4px; }
  .rows span { grid-column: 1 / -1; text-align: left; margin-top: 6px; }
}
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --ink: #e4e7eb; --soft: #a3abb5; --line: #363c45; --accent: #56b4e9; }
  .picture:not(:has(.rows)) { background: #fff; } /* on which charts and grids are drawn */
}
@page { size: A4; margin: 16mm 15mm; }
@media print {
  body { font-size: 10.5pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 20pt; }
  h2 { font-size: 14pt; margin-top: 22pt; }
  h3 { font-size: 11pt; }
  .lead { font-size: 12pt; }
  figcaption, table, dl { font-size: 9.5pt; }
  h1, h2, h3 { page-break-after: avoid; break-after: avoid; }
  figure, tr, li, dt, dd { page-break-inside: avoid; break-inside: avoid; }
  thead { display: table-header-group; }
  .picture img, .picture svg { max-height: 210mm; object-fit: contain; }
  .wide { overflow: visible; }
}
"""

# The content security policy enforces that the page loads no resources and runs no scripts.
PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
<p class="lead">$lead</p>
</header>
$sections
</main>
</body>
</html>
""")
