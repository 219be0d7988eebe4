"""The page itself, as a Gradio app: what stands where, and what each event does.

Everything is stateless: the browser sends what it shows, the server answers and forgets.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from chatward.errors import MissingExtraError
from chatward.faces.web import rendering
from chatward.faces.web.style import CSS, HEAD, THEME
from chatward.faces.web.words import ENGLISH, EXAMPLES, SEVERAL_LINES, WORDS

if TYPE_CHECKING:
    import gradio as gr

    from chatward.detection.detector import Detector

_FONTS: Final = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
_MONO: Final = ("ui-monospace", "SFMono-Regular", "Consolas", "monospace")

# Runs in the browser once: answers are announced to screen readers, the keyboard starts in the text
# box (not on a phone, where that would open the keyboard), and the browser's language is taken up.
_ON_LOAD: Final = """() => {
  document.querySelector('#cw-result').setAttribute('aria-live', 'polite');
  document.querySelector('#cw-language').setAttribute('aria-label', 'Language / Idioma');
  if (matchMedia('(pointer: fine)').matches) document.querySelector('#cw-message textarea').focus();
  const asked = new URLSearchParams(location.search).get('lang') || navigator.language || 'en';
  return asked.toLowerCase().startsWith('es') ? 'es' : 'en';
}"""
_ON_LANGUAGE: Final = """(language, shown) => {
  document.documentElement.lang = language;
  return [language, shown];
}"""


def gradio() -> Any:
    """Return the gradio module, or raise MissingExtraError."""
    try:
        import gradio as module
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise MissingExtraError("app", "`chatward app`") from None
    return module


def appearance() -> dict[str, Any]:
    """Return what `Blocks.launch` and `mount_gradio_app` need, to look right and to keep nothing."""
    theme = gradio().themes.Base(font=_FONTS, font_mono=_MONO).set(**THEME)
    return {"theme": theme, "css": CSS, "head": HEAD, "footer_links": [], "run_history": False}


def answer(detector: Detector, text: str | None, language: str | None) -> str:
    """Return the HTML that answers what was typed: a result, a hint or a refusal; never an error."""
    words = WORDS.get(language or "", ENGLISH)
    refused = rendering.refusal(text or "", words)
    if refused is not None:
        return refused
    messages = rendering.lines_of(text or "")
    predictions = detector.predict(messages)
    explanations = {i: detector.explain(messages[i]) for i in rendering.to_explain(messages, predictions)}
    return rendering.result_html(messages, predictions, words, explanations)


def classify(detector: Detector, message: object) -> dict[str, Any]:
    """Answer the public API: one message in, ``{"label", "probabilities", "truncated"}`` out.

    Raises ValueError, whose words are for the caller, for anything but a string within the limit.
    """
    if not isinstance(message, str):
        raise ValueError(
            f"/classify takes one message as a string, not {type(message).__name__}: "
            'send for example "gg ez", and several messages one call each'
        )
    if len(message) > rendering.MAX_CHARACTERS:
        raise ValueError(
            f"the message has {len(message)} characters and /classify takes up to "
            f"{rendering.MAX_CHARACTERS}: send a shorter one"
        )
    (prediction,) = detector.predict([message])
    return {
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "truncated": prediction.truncated,
    }


def build(detector: Detector) -> gr.Blocks:
    """Return the page over *detector*. Launch it with ``**appearance()``.

    Raises MissingExtraError where gradio isn't installed.
    """
    gr = gradio()
    words = ENGLISH
    html = {"js_on_load": None, "apply_default_css": False}
    hidden = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

    def show(text: str | None, language: str | None) -> tuple[str, str]:
        return answer(detector, text, language), text or ""

    def show_example(text: str, language: str | None) -> tuple[str, str, str]:
        return text, answer(detector, text, language), text

    def api(message: str) -> dict[str, Any]:
        """Classify one chat message: its label, the three probabilities, whether it was cut short."""
        try:
            return classify(detector, message)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None

    with gr.Blocks(title="chatward", analytics_enabled=False) as page:
        with gr.Row(elem_id="cw-top"):
            header = gr.HTML(rendering.header_html(words), **html)
            language = gr.Radio(
                [(w.language, code) for code, w in WORDS.items()],
                value="en",
                label="Language / Idioma",
                show_label=False,
                container=False,
                elem_id="cw-language",
            )
        with gr.Column(elem_id="cw-ask"):
            # One line of at most several: that is when Gradio's text box submits on Enter.
            message = gr.Textbox(
                label=words.message,
                placeholder=words.placeholder,
                lines=1,
                max_lines=8,
                elem_id="cw-message",
                html_attributes=gr.InputHTMLAttributes(
                    autocomplete="off", autocorrect="off", spellcheck=False, enterkeyhint="send"
                ),
            )
            with gr.Row(elem_id="cw-send"):
                keys = gr.HTML(rendering.keys_html(words), **html)
                check = gr.Button(words.check, variant="primary", elem_id="cw-check")
        heading = gr.HTML(rendering.examples_html(words), **html)
        with gr.Row(elem_id="cw-examples"):
            buttons = [(gr.Button(text, size="sm", min_width=0), text) for text in EXAMPLES]
            several = gr.Button(words.several_lines, size="sm", min_width=0)
        result = gr.HTML(rendering.waiting_html(words), **html, elem_id="cw-result")
        footer = gr.HTML(rendering.footer_html(words, detector.manifest.name), **html)
        shown = gr.Textbox(visible=False)  # what `result` answers; kept by the browser alone

        def translate(language: str | None, shown: str | None) -> list[Any]:
            w = WORDS.get(language or "", ENGLISH)
            return [
                rendering.header_html(w),
                gr.update(label=w.message, placeholder=w.placeholder),
                rendering.keys_html(w),
                gr.update(value=w.check),
                answer(detector, shown, language) if shown else rendering.waiting_html(w),
                rendering.examples_html(w),
                gr.update(value=w.several_lines),
                rendering.footer_html(w, detector.manifest.name),
            ]

        for event in (message.submit, check.click):
            event(show, [message, language], [result, shown], **hidden)
        for button, text in (*buttons, (several, SEVERAL_LINES)):
            button.click(partial(show_example, text), [language], [message, result, shown], **hidden)
        language.change(
            translate,
            [language, shown],
            [header, message, keys, check, result, heading, several, footer],
            js=_ON_LANGUAGE,
            **hidden,
        )
        page.load(None, None, [language], js=_ON_LOAD, api_visibility="private")
        gr.api(api, api_name="classify")
    return page
