// The editor of a cell or of a formula: CodeMirror, in the page's own colours.
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { drawSelection, EditorView, keymap } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.controlKeyword, tags.definitionKeyword, tags.moduleKeyword], class: "live-keyword" },
  { tag: [tags.string, tags.special(tags.string), tags.escape], class: "live-string" },
  { tag: [tags.number, tags.bool, tags.null], class: "live-number" },
  { tag: tags.comment, class: "live-comment" },
]);

/** Make an editor with a text; `onChange` hears of each new one, `onRun` of Shift+Enter and Ctrl+Enter. */
export function editor({ text, label, onChange, onRun, isCode = true }) {
  const run = () => (onRun(), true);
  const view = new EditorView({
    state: EditorState.create({
      doc: text,
      extensions: [
        history(),
        drawSelection(),
        indentUnit.of("    "),
        ...(isCode ? [python(), indentOnInput(), bracketMatching()] : [EditorView.lineWrapping]),
        syntaxHighlighting(colours),
        // Tab is left alone: it leads a reader without a mouse out again.
        keymap.of([{ key: "Shift-Enter", run }, { key: "Mod-Enter", run }, ...defaultKeymap, ...historyKeymap]),
        EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0", spellcheck: "false", autocapitalize: "off", autocorrect: "off" }),
        EditorView.updateListener.of((update) => update.docChanged && onChange(update.state.doc.toString())),
      ],
    }),
  });
  const dom = document.createElement("div"); // CodeMirror has its own say on its element's classes
  dom.className = "live-editor";
  dom.append(view.dom);
  return {
    dom,
    focus: () => view.focus(),
    set text(next) {
      const now = view.state.doc.toString();
      if (now !== next) view.dispatch({ changes: { from: 0, to: now.length, insert: next } });
    },
  };
}
