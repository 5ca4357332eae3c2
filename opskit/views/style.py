"""The fixed style sheets of a run's view: of its widgets, and of the static display that stands before them."""

from __future__ import annotations

from typing import Final

SHEET: Final = """<style>
.opskit-ended,.opskit-title{display:none}
.opskit-view{padding:2px 0 6px;gap:6px;color:var(--jp-ui-font-color1,inherit);overflow:visible}
.opskit-view .jupyter-widgets{margin:0;overflow:visible}
.opskit-view.jupyter-widgets-disconnected::before,.opskit-view .jupyter-widgets-disconnected::before{display:none}
.opskit-view .opskit-view{margin-left:4px;padding-left:12px;border-left:3px solid rgba(128,128,128,.25)}
.opskit-view .widget-html,.opskit-view .widget-html-content{height:auto;min-height:0;width:100%;line-height:1.4;
  font-size:13px;color:inherit}
.opskit-view .widget-html:not(:has(.widget-html-content>:not(style,.opskit-ended,.opskit-title))),
.opskit-view .widget-vbox:not(:has(*)),.opskit-view .widget-hbox:not(:has(*)){display:none}
.opskit-view .opskit-buttons{flex-wrap:wrap;gap:6px;height:auto}
.opskit-view .jupyter-button.widget-button{width:auto;height:26px;line-height:24px;padding:0 12px;border-radius:4px;
  border:1px solid var(--jp-border-color1,#8888);background:var(--jp-layout-color1,transparent);
  color:var(--jp-ui-font-color1,inherit);font-size:12px;box-shadow:none}
.opskit-view .jupyter-button.widget-button:hover:enabled{background:var(--jp-layout-color2,#8882)}
.opskit-view .jupyter-button.widget-button:disabled{opacity:.5}
.opskit-view .opskit-past:not(:focus-visible){display:none}
.opskit-view .opskit-past{opacity:.5}
.opskit-view .opskit-buttons:not(:has(button:not(.opskit-past),button:focus-visible)){display:none}
.opskit-view .jupyter-button.mod-danger{border-color:#d55e00;box-shadow:inset 3px 0 #d55e00}
.opskit-view button:focus-visible{outline:2px solid var(--jp-brand-color1,#2a86c8);outline-offset:1px}
.opskit-lines{font-family:var(--jp-code-font-family,monospace);font-size:12px;line-height:17px;height:102px;
  overflow:hidden;padding:4px 8px;border-radius:4px;background:rgba(128,128,128,.12)}
.opskit-line{white-space:pre;overflow:hidden;text-overflow:ellipsis}
.opskit-host{display:inline-block;min-width:64px;margin-right:8px;opacity:.75}
.opskit-dialog{padding:8px 12px;border-left:3px solid #d55e00;background:rgba(128,128,128,.12);gap:6px}
.opskit-gone{display:none}
.opskit-view.jupyter-widgets-disconnected>.opskit-gone{display:block;padding:4px 8px;border:1px solid #d55e00;
  border-radius:4px;width:auto}
.opskit-view.jupyter-widgets-disconnected .jupyter-button{opacity:.5;cursor:not-allowed}
.opskit-view.jupyter-widgets-disconnected:is(:active,:focus-within)>.opskit-gone{box-shadow:0 0 0 3px #d55e0066;
  font-weight:bold}
.opskit-grid .widget-toggle-buttons{position:relative;width:100%;height:auto;line-height:normal;display:block}
.opskit-grid .widget-toggle-buttons>div{display:flex;flex-wrap:wrap;gap:3px}
.opskit-grid .jupyter-button.widget-toggle-button{--c:#80808a;--s:"\\25cb";margin:0;padding:0;
  border:1px solid color-mix(in srgb,var(--c) var(--m,45%),transparent);
  box-shadow:none;cursor:pointer;color:var(--jp-ui-font-color1,inherit);font-size:12px;line-height:20px;height:22px;
  background:color-mix(in srgb,var(--c) 12%,transparent);border-radius:3px;overflow:hidden;text-overflow:ellipsis;
  white-space:nowrap}
.opskit-grid .widget-toggle-button::before{content:var(--s);color:var(--c);font-weight:bold}
@supports (content:"x" / "y"){
.opskit-grid .widget-toggle-button::before{content:var(--s) / var(--l)}
.opskit-grid .widget-toggle-button.mod-active::before{content:var(--s) / var(--a)}
}
.opskit-grid .widget-toggle-button.mod-active{outline:2px solid var(--jp-ui-font-color1,currentColor);outline-offset:0}
.opskit-grid .widget-toggle-button:is(:hover,:focus-visible)::after{content:var(--t);position:absolute;left:0;top:100%;
  z-index:2;max-width:100%;box-sizing:border-box;line-height:20px;padding:0 8px;overflow:hidden;
  text-overflow:ellipsis;white-space:nowrap;text-align:left;pointer-events:none;
  color:var(--jp-ui-font-color1,inherit);background:var(--jp-layout-color1,Canvas);
  border:1px solid var(--jp-border-color1,#8888);border-radius:4px}
.opskit-named .widget-toggle-buttons>div{display:grid!important;
  grid-template-columns:repeat(auto-fill,minmax(var(--w,96px),1fr))}
.opskit-named .jupyter-button.widget-toggle-button{width:auto!important;text-align:left;padding:0 6px}
.opskit-named .widget-toggle-button::before{margin-right:6px}
.opskit-small .jupyter-button.widget-toggle-button{width:18px!important;height:18px;line-height:16px;font-size:0;
  text-align:center;background:var(--b,transparent)}
.opskit-small .widget-toggle-button::before{font-size:11px;color:var(--f,var(--c))}
.opskit-small .widget-toggle-button::after{font-size:12px}
</style>"""

# What both the static display and the widgets say is shown once: by the widgets while something runs, then by
# the display. A page that was loaded while something ran does not hear what becomes of its displays: there the widgets
# tell the end. A notebook that is opened without its kernel has "model not found" where the widgets were: that is
# hidden, and a line says what to do. Where one cell has several views, the widgets of each have a title. The last lines
# of output stay until something else stands below, so that the page does not jump.
BESIDE_WIDGETS: Final = """<style>
.jp-OutputArea-child:has(.opskit-live):has(+.jp-OutputArea-child .opskit-view){display:none}
.jp-OutputArea-child:has(.opskit-live)+.jp-OutputArea-child :is(.opskit-ended,
  .widget-html:has(.opskit-ended)){display:block!important}
.jp-OutputArea-child:has(.opskit-static)~.jp-OutputArea-child:has(.opskit-static)+.jp-OutputArea-child
  :is(.opskit-title,.widget-html:has(.opskit-title)),
.jp-OutputArea-child:has(.opskit-view):has(~.jp-OutputArea-child .opskit-static)
  :is(.opskit-title,.widget-html:has(.opskit-title)){display:block!important}
.jp-OutputArea-child:not(:last-child) .widget-html:has(.opskit-lines-last){display:none}
.jp-OutputArea-child:has(.opskit-static)+.jp-OutputArea-child>.jupyter-widgets:not(:has(*)){visibility:hidden;height:0;
  min-height:0;margin:0;padding:0;overflow:hidden}
.jp-OutputArea-child:has(.opskit-static):has(+ .jp-OutputArea-child>.jupyter-widgets):not(:has(+ .jp-OutputArea-child
  .opskit-view)) .opskit-lost{display:block!important}
</style>"""


def unless_told_above(name: str) -> str:
    """A style sheet that hides what has this class among the widgets, where the static display above has it, too."""
    above = f".jp-OutputArea-child:has(.opskit-static .{name})"
    return f"<style>{above}+.jp-OutputArea-child .opskit-view .{name}{{display:none}}</style>"
