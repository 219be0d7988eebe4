"""How the page looks. Colours never stand alone: each level also has its name and its own shape."""

from __future__ import annotations

from typing import Final

_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E%3Cpath fill='%233b5bdb' "
    "d='M12 2 4 5v6.3c0 5 3.3 8.8 8 10.7 4.7-1.9 8-5.7 8-10.7V5z'/%3E%3Cpath stroke='white' stroke-width='2' "
    "stroke-linecap='round' d='M8.4 9.4h7.2M8.4 13h4.4'/%3E%3C/svg%3E"
)

HEAD: Final = (
    '<meta name="description" content="Sorts Dota 2 game chat into non-toxic, mild toxicity and toxic.">'
    f'<link rel="icon" type="image/svg+xml" href="{_ICON}">'
)

THEME: Final = {
    "body_background_fill": "#f5f6f8",
    "body_background_fill_dark": "#0f1216",
    "body_text_color": "#161a20",
    "body_text_color_dark": "#e9ecf1",
}
"""What Gradio paints before the style sheet has arrived."""

# Gradio prefixes every selector and splits on each comma, so `:is(a, b)` would come out wrong.
CSS: Final = """
:root {
  --cw-card: #fff; --cw-line: #dfe3e9; --cw-edge: #8a94a3;
  --cw-ink: #161a20; --cw-soft: #545d6b; --cw-track: #e9ecf1;
  --cw-act: #3b5bdb; --cw-act-over: #2f49b5; --cw-act-ink: #fff; --cw-ring: #3b5bdb;
  --cw-ok: #0b7a5b; --cw-mild: #9a5800; --cw-toxic: #b4231c;
  --cw-ok-tint: #e3f4ed; --cw-mild-tint: #fbefd9; --cw-toxic-tint: #fce8e6;
  --cw-mild-1: #f8ead6; --cw-mild-2: #f2d7b2; --cw-mild-3: #ecc48e;
  --cw-toxic-1: #f8dbd9; --cw-toxic-2: #f2bab7; --cw-toxic-3: #ec9a96;
  color-scheme: light;
}
.dark {
  --cw-card: #171b21; --cw-line: #2b323c; --cw-edge: #6d7887;
  --cw-ink: #e9ecf1; --cw-soft: #a6b0be; --cw-track: #262d36;
  --cw-act: #8ea6ff; --cw-act-over: #aabdff; --cw-act-ink: #10141b; --cw-ring: #8ea6ff;
  --cw-ok: #55cda5; --cw-mild: #f2b75c; --cw-toxic: #ff948b;
  --cw-ok-tint: #15302a; --cw-mild-tint: #35290f; --cw-toxic-tint: #3a1d1c;
  --cw-mild-1: #44341f; --cw-mild-2: #5b401e; --cw-mild-3: #714d1d;
  --cw-toxic-1: #4d2525; --cw-toxic-2: #682b27; --cw-toxic-3: #833029;
  color-scheme: dark;
}

/* Gradio's frame */
.gradio-container { width: 100%; min-width: 0; color: var(--cw-ink); }
.gradio-container > .main { max-width: 720px !important; min-width: 0; margin: 0 auto !important; padding: 0 !important; }
.gradio-container main { padding: 32px 20px !important; }
.gradio-container main > .wrap, .gradio-container .column { gap: 14px !important; }
.gradio-container .html-container { padding: 0 !important; overflow: visible; }
.gradio-container .html-container * { box-sizing: border-box; }
.gradio-container footer:not(.cw-footer) { display: none !important; }
.gradio-container button:focus-visible, .gradio-container textarea:focus-visible, #cw-language label:focus-within { outline: 3px solid var(--cw-ring) !important; outline-offset: 2px; }
#cw-language input:focus-visible { outline: none !important; }
#cw-message textarea:focus-visible { outline-width: 2px !important; outline-offset: -1px; }

/* Header and language switch */
#cw-top { display: flex; flex-wrap: nowrap; align-items: center; gap: 12px; }
#cw-top > :first-child { flex: 1 1 auto; min-width: 0; }
.cw-header { display: flex; align-items: center; gap: 12px; }
.cw-header h1 { margin: 0; font-size: 1.5rem; line-height: 1.15; font-weight: 700; letter-spacing: -.01em; color: var(--cw-ink); }
.cw-header p { margin: 2px 0 0; font-size: .95rem; line-height: 1.3; color: var(--cw-soft); }
.cw-shield { flex: none; width: 40px; height: 40px; fill: none; stroke: var(--cw-act); stroke-width: 1.8;
  stroke-linecap: round; stroke-linejoin: round; }
#cw-language { flex: 0 0 auto; min-width: 0 !important; width: auto; border: 0; padding: 0; margin: 0; background: none; }
#cw-language .wrap { display: flex; flex-wrap: nowrap; gap: 2px; padding: 3px; border-radius: 10px;
  background: var(--cw-track); }
#cw-language label { position: relative; margin: 0; min-height: 38px; padding: 0 12px; border: 0; border-radius: 8px;
  background: none; box-shadow: none; color: var(--cw-soft); font-size: .9rem; font-weight: 500; display: flex;
  align-items: center; cursor: pointer; }
#cw-language label.selected { background: var(--cw-card); color: var(--cw-ink); box-shadow: 0 1px 2px rgb(0 0 0 / .18); }
#cw-language label span { margin: 0 !important; padding: 0; }
#cw-language input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: pointer; }

/* Asking */
#cw-ask, .cw-card { background: var(--cw-card); border: 1px solid var(--cw-line); border-radius: 14px; padding: 16px; }
#cw-ask { gap: 12px !important; }
#cw-ask .form, #cw-message { border: 0; padding: 0; margin: 0; background: none; box-shadow: none; overflow: visible !important; }
#cw-message label > span, #cw-message [data-testid="block-info"] { display: inline-block; margin: 0 0 6px; padding: 0;
  border: 0; background: none; box-shadow: none; color: var(--cw-ink); font-size: .9rem; font-weight: 600; }
#cw-message textarea { min-height: 76px; padding: 11px 13px; border: 1px solid var(--cw-edge); border-radius: 10px;
  background: var(--cw-card); color: var(--cw-ink); box-shadow: none; font-size: 1.05rem; line-height: 1.45; }
#cw-message textarea::placeholder { color: var(--cw-soft); opacity: 1; }
#cw-send { display: flex; flex-wrap: nowrap; align-items: center; gap: 14px; }
#cw-send > :first-child { flex: 1 1 auto; min-width: 0; }
.cw-keys { margin: 0; font-size: .85rem; line-height: 1.35; color: var(--cw-soft); }
#cw-check { flex: 0 0 auto; min-width: 128px; min-height: 46px; border: 0; border-radius: 10px; background: var(--cw-act);
  color: var(--cw-act-ink); font-size: 1rem; font-weight: 600; box-shadow: none; }
#cw-check:hover { background: var(--cw-act-over); }

/* Examples */
.cw-small { margin: 0; font-size: .85rem; font-weight: 500; line-height: 1.3; color: var(--cw-soft); }
#cw-examples { display: flex; flex-wrap: wrap; gap: 8px; margin-top: -4px; }
#cw-examples button { flex: 0 1 auto; min-height: 40px; padding: 6px 14px; border: 1px solid var(--cw-line);
  border-radius: 20px; background: var(--cw-card); color: var(--cw-ink); font-size: .92rem; font-weight: 400; box-shadow: none; }
@media (hover: hover) { #cw-examples button:hover { border-color: var(--cw-act); } }

/* Answers */
.cw-ok { --cw-of: var(--cw-ok); --cw-tint: var(--cw-ok-tint); }
.cw-mild { --cw-of: var(--cw-mild); --cw-tint: var(--cw-mild-tint); --cw-1: var(--cw-mild-1); --cw-2: var(--cw-mild-2); --cw-3: var(--cw-mild-3); }
.cw-toxic { --cw-of: var(--cw-toxic); --cw-tint: var(--cw-toxic-tint); --cw-1: var(--cw-toxic-1); --cw-2: var(--cw-toxic-2); --cw-3: var(--cw-toxic-3); }
.cw-icon { width: 1.15em; height: 1.15em; flex: none; fill: none; stroke: currentColor; stroke-width: 2.1;
  stroke-linecap: round; stroke-linejoin: round; }
.cw-note { margin: 0; padding: 20px 16px; border: 1px dashed var(--cw-edge); border-radius: 14px; color: var(--cw-soft);
  text-align: center; font-size: .95rem; line-height: 1.4; }
.cw-note.cw-hint, .cw-note.cw-warn { color: var(--cw-ink); background: var(--cw-card); }
.cw-note.cw-warn { border: 1px solid var(--cw-mild); background: var(--cw-mild-tint); }
.cw-card p { margin: 0; }
.cw-said { color: var(--cw-ink); font-size: 1.05rem; line-height: 1.5; margin-bottom: 14px !important; max-height: 4.5em;
  overflow: hidden; overflow-wrap: anywhere; padding-left: 10px; border-left: 3px solid var(--cw-line); }
.cw-verdict { display: flex; align-items: center; flex-wrap: wrap; gap: 4px 10px; margin: 2px 0 16px !important; color: var(--cw-of);
  font-size: 1.65rem; line-height: 1.2; }
.cw-verdict strong { font-weight: 700; color: inherit; }
.cw-verdict strong::first-letter, .cw-name::first-letter { text-transform: uppercase; }
.cw-verdict strong, .cw-name { display: inline-block; }
.cw-verdict span { margin-left: auto; font-variant-numeric: tabular-nums; }
/* Words that raise the level: the underline tells them apart without colour */
.gradio-container mark { padding: 1px .22em; margin: 0 -.08em; border-radius: 4px; border-bottom: 2px solid var(--cw-of);
  -webkit-box-decoration-break: clone; box-decoration-break: clone; color: var(--cw-ink); background: var(--cw-1); }
.gradio-container mark.cw-2 { background: var(--cw-2); }
.gradio-container mark.cw-3 { background: var(--cw-3); font-weight: 600; }
.cw-because { margin: -8px 0 16px !important; color: var(--cw-soft); font-size: .95rem; line-height: 1.75; overflow-wrap: anywhere; }
.cw-because mark { margin: 0 .1em; }
.cw-bars { list-style: none; margin: 0; padding: 0; display: grid; gap: 12px; }
.cw-bars li { display: grid; grid-template-columns: 1fr auto; gap: 5px 10px; margin: 0; font-size: .95rem; line-height: 1.3; color: var(--cw-soft); }
.cw-bars .cw-top { color: var(--cw-ink); font-weight: 600; }
.cw-number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.cw-track { grid-column: 1 / -1; height: 10px; border-radius: 5px; background: var(--cw-track); overflow: hidden; }
.cw-fill { height: 100%; min-width: 2px; border-radius: 5px; background: var(--cw-of); transition: width .25s ease-out; }
.cw-cut { color: var(--cw-mild); font-size: .9rem; line-height: 1.35; }
.cw-one .cw-cut { margin: 0 0 14px !important; padding: 9px 12px; border-radius: 9px; background: var(--cw-mild-tint); }

.cw-tally { display: flex; flex-wrap: wrap; align-items: center; gap: 6px; margin-bottom: 12px !important; }
.cw-tally strong { color: var(--cw-ink); margin-right: 4px; }
.cw-chip { display: inline-flex; align-items: center; gap: 5px; padding: 3px 9px 3px 7px; border-radius: 999px; background: var(--cw-tint);
  color: var(--cw-of); font-size: .86rem; font-weight: 600; line-height: 1.3; white-space: nowrap; }
.cw-many table { width: 100%; margin: 0; border: 0; border-collapse: collapse; font-size: .92rem; line-height: 1.35; color: var(--cw-ink); }
.cw-many tr, .cw-many th, .cw-many td { border: 0; background: none; }
.cw-many th { padding: 6px 8px; text-align: right; vertical-align: bottom; font-size: .8rem; font-weight: 500; line-height: 1.2; color: var(--cw-soft); }
.cw-many th:nth-child(-n+2) { text-align: left; }
.cw-many td { padding: 9px 8px; border-top: 1px solid var(--cw-line); text-align: right; color: var(--cw-soft); vertical-align: middle; }
.cw-many th:first-child, .cw-many td:first-child { padding-left: 0; }
.cw-many th:last-child, .cw-many td:last-child { padding-right: 0; }
.cw-many .cw-top { color: var(--cw-ink); font-weight: 600; }
.cw-many .cw-text { text-align: left; color: var(--cw-ink); overflow-wrap: anywhere; width: 45%; }
.cw-many .cw-text bdi { display: block; max-height: 8.1em; overflow: hidden; }
.cw-many .cw-label { text-align: left; }
.cw-many .cw-cut { display: block; }

.cw-footer { margin-top: 14px; padding-top: 14px; border-top: 1px solid var(--cw-line); text-align: center; }
.cw-footer p { margin: 0 0 3px; font-size: .85rem; line-height: 1.45; color: var(--cw-soft); overflow-wrap: anywhere; }
.cw-footer strong { font-weight: 600; color: var(--cw-ink); }

@media (max-width: 560px) {
  .gradio-container main { padding: 16px 14px 24px !important; }
  .cw-header { gap: 9px; }
  .cw-header h1 { font-size: 1.25rem; }
  .cw-header p { font-size: .85rem; }
  .cw-shield { width: 32px; height: 32px; }
  #cw-language label { padding: 0 9px; min-height: 44px; }
  #cw-send { flex-direction: column; align-items: stretch; gap: 10px; }
  #cw-check { width: 100%; min-height: 50px; order: -1; }
  #cw-examples button { min-height: 44px; }
  .cw-verdict { font-size: 1.4rem; }
  .cw-many table, .cw-many tbody { display: block; }
  .cw-many thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .cw-many tr { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px 8px; padding: 12px 0; border-top: 1px solid var(--cw-line); }
  .cw-many td { border: 0; padding: 0 !important; text-align: left; }
  .cw-many .cw-text { grid-column: 1 / -1; width: auto; }
  .cw-many .cw-label { grid-column: 1 / -1; }
  .cw-many td.cw-number::before { content: attr(data-name); display: block; font-size: .78rem; font-weight: 400; color: var(--cw-soft); }
}
@media (pointer: coarse) { .cw-keys { display: none; } }
@media (prefers-reduced-motion: reduce) { .cw-fill { transition: none; } }
"""
