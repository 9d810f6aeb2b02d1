import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { AlikeView } from "./views/alike";
import { allTracks, CellsView, suggestionsOf } from "./views/cells";
import { GatesView } from "./views/gates";
import { HoldView } from "./views/hold";
import { TextView } from "./views/text";
import { Tour } from "./views/tour";
import { WhyView } from "./views/why";
import { WriteView } from "./views/write";
import { extent, palette, percent, short } from "./paint";
import type { Suggestion } from "./features";
import { likeliest } from "./sampling";
import type { Place, Session } from "./session";
import type { Painting, Shared, Tab } from "./shared";

/** A cell that only drifts over the text is the least of the finds. */
const worth = (s: Suggestion) => (s.feature === "place in the text" ? -1 : s.firm);

const systemDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

export function App({ session }: { session: Session }) {
  const [version, setVersion] = useState(0);
  const [busy, setBusy] = useState<number | null>(0);
  const [wanted, choose] = useState<Place>({ cell: 0, unit: 0 });
  const [quantity, setQuantity] = useState<"c" | "h">("c");
  // With a projection there are fewer h than c.
  const width = session.width(wanted.cell, quantity);
  const place = useMemo<Place>(
    () => ({ cell: wanted.cell, unit: Math.min(wanted.unit, width - 1) }),
    [wanted.cell, wanted.unit, width],
  );
  const [[anchor, cursor], setSpan] = useState<[number, number]>([0, 0]);
  const [tab, setTab] = useState<Tab>("cells");
  const [painting, paint] = useState<Painting | null>(null);
  const [message, say] = useState("");
  const [dark, setDark] = useState(systemDark);
  const [tour, setTour] = useState(false);
  const [draft, setDraft] = useState<string | null>(null);
  const tabs = useRef<HTMLDivElement>(null);
  const colours = palette(dark);

  useEffect(() => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }, [dark]);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => setDark(query.matches);
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, []);

  const works = useRef(0);
  const note = useRef("");
  const work = useCallback<Shared["work"]>(async (job, done = "") => {
    const mine = ++works.current;
    const latest = () => mine === works.current;
    setBusy(0);
    try {
      if ((await job((share) => latest() && setBusy(share))) === false) return false;
      note.current = done;
      setVersion(session.version);
      return true;
    } finally {
      if (latest()) setBusy(null);
    }
  }, []);

  useEffect(() => {
    void work((progress) => session.open(progress)).then((done) => {
      if (!done) return;
      const start = Math.min(session.length - 1, 40);
      setSpan([start, start]);
      document.documentElement.dataset.ready = "yes";
    });
  }, []);

  const last = Math.max(0, session.length - 1);
  const at = Math.min(cursor, last);
  const span = useMemo<[number, number]>(
    () => [Math.min(anchor, at), Math.min(last, Math.max(anchor, at))],
    [anchor, at, last],
  );
  const go = (to: number, extend = false) => {
    const next = Math.max(0, Math.min(to, last));
    setSpan(([other]) => [extend ? other : next, next]);
  };

  // Tell, without a picture, where the cursor is and what comes next.
  useEffect(() => {
    if (!version || !session.length) return;
    const { name } = session.shown[at];
    const value = short(session.at(place, quantity, at));
    const logits = session.logits(at);
    const next = logits
      ? `; next: ${likeliest(logits, 3).map(({ token, p }) => `${session.vocabulary.name(token)} ${percent(p)}`).join(", ")}`
      : "";
    const marked = span[0] < span[1] ? `; ${span[1] - span[0] + 1} marked` : "";
    const first = note.current ? `${note.current}; ` : "";
    note.current = "";
    say(`${first}${name}, ${at + 1} of ${session.length}; ${session.name(place)}: ${quantity} = ${value}${next}${marked}`);
  }, [at, span[0], span[1], place, quantity, version]);

  const tracks = useMemo(
    () => (version ? allTracks(session, quantity) : []),
    [version, quantity],
  );
  const suggestions = useMemo(() => suggestionsOf(session, tracks), [tracks]);
  // Begin with the cell that follows something best.
  const chosen = useRef(false);
  useEffect(() => {
    if (chosen.current || !suggestions.length) return;
    chosen.current = true;
    const [best] = [...suggestions].sort((a, b) => worth(b) - worth(a));
    choose({ cell: best.cell, unit: best.unit });
  }, [suggestions]);
  const track = useMemo(
    () => (version ? session.track(place, quantity) : new Float64Array()),
    [place, quantity, version],
  );
  const ofCell: Painting = {
    values: track,
    most: extent(track),
    caption: `${quantity} of ${session.name(place)}`,
  };

  const shared: Shared = {
    session, version, tracks, suggestions, place, quantity, cursor: at, span, colours, choose, setQuantity, go,
    select: (from, to) => setSpan([from, to]),
    paint, draft, setDraft, work, say,
  };

  const names: [Tab, string][] = [
    ["cells", "Cells"],
    ["gates", "Gates"],
    ["why", "Why"],
    ["hold", "Hold"],
    ...(session.isText ? [["write", "Write"] as [Tab, string]] : []),
    ["alike", "Alike"],
  ];
  const open = (next: Tab) => {
    paint(null);
    setTab(next);
  };
  const turn = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const index = names.findIndex(([name]) => name === tab);
    const next = (index + step + names.length) % names.length;
    open(names[next][0]);
    tabs.current?.querySelectorAll("button")[next].focus();
    event.preventDefault();
  };
  const neighbour = (step: number) => {
    choose({ cell: place.cell, unit: (place.unit + step + width) % width });
  };
  const keys = (event: KeyboardEvent) => {
    const typing = event.target instanceof Element && event.target.closest("input, textarea, select");
    if (typing || event.metaKey) return;
    const plain = !event.ctrlKey && !event.altKey;
    // Many keyboards have brackets only with AltGr (Ctrl and Alt) or Option.
    if (event.key === "]") neighbour(1);
    else if (event.key === "[") neighbour(-1);
    else if (plain && (event.key === "c" || event.key === "h")) setQuantity(event.key);
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    document.addEventListener("keydown", keys);
    return () => document.removeEventListener("keydown", keys);
  });

  const { config } = session.data.network;
  const layers = config.num_layers === 1 ? "1 layer" : `${config.num_layers} layers`;
  return (
    <div class="page">
      <header>
        <div>
          <h1>{session.data.title}</h1>
          <p class="muted">
            LSTM · {layers} of {config.hidden_size} cells · {session.data.parameters.toLocaleString("en")} weights ·
            {" "}running in this page
          </p>
        </div>
        <div class="row">
          <button type="button" onClick={() => setTour(true)} id="start-tour">Take the tour</button>
          <button type="button" onClick={() => setDark(!dark)} id="theme">
            {dark ? "Light" : "Dark"}<span class="wide"> theme</span>
          </button>
        </div>
      </header>
      <div class="progress" role="progressbar" aria-label="Reading the text" aria-hidden={busy === null}
        aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round((busy ?? 1) * 100)}>
        <div style={{ width: `${(busy ?? 0) * 100}%`, opacity: busy === null ? 0 : 1 }} />
      </div>
      <main>
        <TextView shared={shared} painting={painting ?? ofCell} explain={() => open("why")} />
        <section class="card tools" aria-label="Views">
          <div class="tabs" role="tablist" aria-label="Views" ref={tabs} onKeyDown={turn}>
            {names.map(([name, label]) => (
              <button type="button" role="tab" id={`tab-${name}`} aria-controls="view"
                aria-selected={tab === name} tabIndex={tab === name ? 0 : -1} onClick={() => open(name)}>
                {label}
              </button>
            ))}
          </div>
          <div role="tabpanel" id="view" aria-labelledby={`tab-${tab}`} key={tab}>
            {version > 0 && tab === "cells" && <CellsView {...shared} />}
            {version > 0 && tab === "gates" && <GatesView {...shared} />}
            {version > 0 && tab === "why" && <WhyView {...shared} />}
            {version > 0 && tab === "hold" && <HoldView {...shared} />}
            {version > 0 && tab === "write" && <WriteView {...shared} />}
            {version > 0 && tab === "alike" && <AlikeView {...shared} />}
          </div>
        </section>
      </main>
      <footer class="muted">
        <details>
          <summary>Keyboard</summary>
          <p>
            In the text: <kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd> <kbd>Home</kbd> <kbd>End</kbd> move,
            with <kbd>Shift</kbd> they mark a span; <kbd>Enter</kbd> asks why. Anywhere: <kbd>[</kbd> and{" "}
            <kbd>]</kbd> change the cell, <kbd>c</kbd> and <kbd>h</kbd> what is shown of it.
          </p>
        </details>
        <span>Made by lstmkit. Nothing leaves this page.</span>
      </footer>
      <div class="unseen" role="status" aria-live="polite">{message}</div>
      {tour && <Tour shared={shared} open={open} close={() => setTour(false)} />}
    </div>
  );
}
