/** Another text, typed or pasted; and letting the model go on from any point. */

import { useState } from "preact/hooks";
import type { Shared } from "../shared";
import { seen } from "../tokens";

const MOST = 20000;

export function WriteView({ session, cursor, draft, setDraft, go, work, say }: Shared) {
  const text = draft ?? session.vocabulary.decode(session.tokens);
  const [problem, setProblem] = useState("");
  const [temperature, setTemperature] = useState(0.7);
  const [length, setLength] = useState(300);
  const [seed, setSeed] = useState(1);

  const read = (wanted: string) => {
    const { tokens, unknown } = session.vocabulary.encode(wanted);
    const wrong =
      tokens.length < 1 ? "The text is empty; type at least one character."
      : tokens.length > MOST ? `The text has ${tokens.length} tokens; at most ${MOST} fit here.`
      : unknown.length ? `The model does not know ${unknown.slice(0, 5).map((c) => `“${c}”`).join(", ")}; leave ${unknown.length === 1 ? "it" : "them"} out.`
      : "";
    setProblem(wrong);
    if (wrong) say(wrong);
    if (wrong) return;
    void work((progress) => session.read(tokens, progress)).then((done) => {
      if (!done) return;
      setDraft((now) => (now === draft ? null : now)); // what was typed since is kept
      go(Math.min(40, tokens.length - 1));
    });
  };
  const write = () => {
    setProblem("");
    void work((progress) => session.write(cursor, length, temperature, seed, progress), `${length} tokens written`);
  };
  return (
    <>
      <h2>Let it write</h2>
      <p class="hint">
        It goes on after <b class="token">{seen(session.shown[cursor])}</b>, the marked token; the rest of the text makes
        way. The same seed writes the same text.{session.held.length > 0 && " What is held stays held."}
      </p>
      <div class="row fields">
        <label>Temperature <output>{temperature.toFixed(2)}</output>
          <input id="temperature" type="range" min={0} max={1.5} step={0.05} value={temperature} onInput={(e) => setTemperature(Number(e.currentTarget.value))} />
        </label>
        <label>Tokens <input id="write-length" type="number" min={1} max={2000} value={length} onInput={(e) => setLength(Math.max(1, Math.min(2000, Math.round(Number(e.currentTarget.value)) || 1)))} /></label>
        <label>Seed <input id="seed" type="number" min={0} value={seed} onInput={(e) => setSeed(Math.max(0, Math.round(Number(e.currentTarget.value)) || 0))} /></label>
      </div>
      <div class="row">
        <button type="button" class="main" id="write" onClick={write}>Write on from here</button>
        <button type="button" id="write-end" onClick={() => go(session.length - 1)}>To the end</button>
        <button type="button" onClick={() => setSeed(seed + 1)}>Another seed</button>
      </div>
      <h2>Another text</h2>
      <label class="unseen" for="own-text">Text to read</label>
      <textarea id="own-text" rows={9} spellcheck={false} value={text} onInput={(e) => setDraft(e.currentTarget.value)} />
      {problem && <p class="problem" role="alert">{problem}</p>}
      <div class="row">
        <button type="button" class="main" id="read" onClick={() => read(text)}>Read this text</button>
        <button type="button" id="first-text" onClick={() => read(session.data.text)}>Back to the first text</button>
      </div>
    </>
  );
}
