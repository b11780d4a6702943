// Speaking the instruction, where the browser can write down what it hears.

/** Let a button write what is said into a text field; it stays hidden where the browser can't. */
export function offerSpeech(button, field, onError) {
  const Recognition = window.SpeechRecognition || window.webkitSpeechRecognition;
  if (!Recognition) return;
  button.hidden = false;
  let active = null;
  button.addEventListener("click", () => {
    if (active) { active.stop(); return; }
    const recognition = new Recognition(), before = field.value.trim();
    recognition.lang = "en";
    recognition.interimResults = true;
    recognition.onresult = (event) => {
      const said = [...event.results].map((result) => result[0].transcript).join("").trim();
      field.value = [before, said].filter(Boolean).join(" ");
      field.dispatchEvent(new Event("input"));
    };
    recognition.onerror = (event) => {
      if (event.error === "aborted" || event.error === "no-speech") return;
      onError(event.error === "not-allowed" ? "The browser doesn't let this page use the microphone." : `The browser can't write down what is said (${event.error}).`);
    };
    recognition.onend = () => { active = null; button.setAttribute("aria-pressed", "false"); };
    active = recognition;
    button.setAttribute("aria-pressed", "true");
    recognition.start();
  });
}
