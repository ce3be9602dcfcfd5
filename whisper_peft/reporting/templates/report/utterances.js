const list = document.getElementById("utterance-list");
const form = document.getElementById("utterance-controls");
if (list && form) {
  const items = Array.from(list.children);
  const place = new Map(items.map((item, index) => [item, index]));
  const number = (item, name, absent) => Number(item.dataset[name] ?? absent);
  const orders = {
    wer: (a, b) => number(b, "wer") - number(a, "wer"),
    gain: (a, b) => number(a, "change") - number(b, "change"),
    loss: (a, b) => number(b, "change") - number(a, "change"),
    longest: (a, b) => number(b, "seconds") - number(a, "seconds"),
    noisiest: (a, b) => number(a, "snr", 1e9) - number(b, "snr", 1e9),
    unsure: (a, b) => number(a, "confidence", 1e9) - number(b, "confidence", 1e9),
    speaker: (a, b) => (a.dataset.speaker ?? "").localeCompare(b.dataset.speaker ?? ""),
  };
  const update = () => {
    const { order, kind, text } = Object.fromEntries(new FormData(form));
    const wanted = text.trim().toLocaleLowerCase();
    let shown = 0;
    for (const item of items) {
      const fits = !kind || item.dataset.kinds.split(" ").includes(kind);
      item.hidden = !(fits && (!wanted || item.textContent.toLocaleLowerCase().includes(wanted)));
      shown += !item.hidden;
    }
    const before = orders[order] ?? (() => 0);
    list.append(...[...items].sort((a, b) => before(a, b) || place.get(a) - place.get(b)));
    form.querySelector("output").textContent = `${shown} of ${items.length} shown`;
  };
  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
}
