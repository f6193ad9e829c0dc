// The live tail: a ring of recent messages, drawn at most ten times a second, as text only.

/** Messages kept; older ones leave the view. */
const RING = 500;
/** Messages that may wait for the next drawing; more are counted as dropped from view. */
const WAITING = 500;
/** Characters of a value that a row shows; opening a row shows up to OPEN of them. */
const PREVIEW = 300;
const OPEN = 16384;
const DRAW_MS = 100;
const ICONS = { ok: "check", wait: "clock", off: "pause", bad: "alert" };

class Tail {
  constructor(root) {
    this.root = root;
    this.part = (name) => document.getElementById(`tail-${name}`);
    this.waiting = [];
    this.seen = 0;
    this.dropped = 0;
    this.arrivals = [];
    this.lastId = "";
    this.paused = false;
    this.source = null;
    root.hidden = false;
    this.part("pause").addEventListener("click", () => this.pause(!this.paused));
    this.part("clear").addEventListener("click", () => this.part("rows").replaceChildren());
    this.part("filter").addEventListener("input", () => this.filter());
    this.part("rows").addEventListener("click", (event) => this.toggle(event.target.closest("tr")));
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, textarea, select, button, a, summary");
      if (event.key === " " && !typing) {
        event.preventDefault();
        this.pause(!this.paused);
      }
    });
    setInterval(() => this.draw(), DRAW_MS);
    this.open();
  }

  // One connection, given back while the tab is hidden; it goes on where it was.
  open() {
    if (this.source || this.paused || document.hidden) return;
    const url = new URL(this.root.dataset.stream, location.href);
    if (this.lastId) {
      url.searchParams.delete("from");
      url.searchParams.set("cursor", this.lastId);
    }
    this.state("wait", "connecting");
    const source = new EventSource(url);
    this.source = source;
    source.onopen = () => this.state("ok", "live");
    source.onerror = () => this.broken(source);
    source.addEventListener("record", (event) => this.record(event));
    source.addEventListener("gap", (event) => this.event(event, (gap) =>
      `${gap.topic} partition ${gap.partition}: offsets ${gap.from} to ${gap.to} are gone`));
    source.addEventListener("subscribed", (event) => this.event(event, (e) => `now following ${names(e)}`));
    source.addEventListener("unsubscribed", (event) => this.event(event, (e) => `no longer following ${names(e)}${e.reason ? `: ${e.reason}` : ""}`));
    source.addEventListener("heartbeat", (event) => this.keep(event));
  }

  close() {
    if (!this.source) return;
    this.source.close();
    this.source = null;
    this.state("off", this.paused ? "paused" : "resting");
  }

  broken(source) {
    if (source.readyState !== EventSource.CLOSED) {
      this.state("wait", "reconnecting");
      return;
    }
    this.source = null;
    this.state("bad", "ended");
    this.part("note").textContent =
      "The stream was refused or ended. Reload the page; if it stays, look at the service's health.";
  }

  keep(event) {
    if (event.lastEventId) this.lastId = event.lastEventId;
  }

  record(event) {
    this.keep(event);
    this.seen += 1;
    this.arrivals.push(Date.now());
    if (this.waiting.length >= WAITING) {
      this.waiting.shift();
      this.dropped += 1;
    }
    this.waiting.push(event.data);
  }

  event(event, words) {
    this.keep(event);
    const row = document.createElement("tr");
    row.className = "event";
    const cell = document.createElement("td");
    cell.colSpan = 6;
    try {
      cell.textContent = words(JSON.parse(event.data));
    } catch {
      cell.textContent = event.type;
    }
    row.append(cell);
    this.part("rows").prepend(row);
  }

  pause(paused) {
    this.paused = paused;
    this.part("pause").textContent = paused ? "Resume" : "Pause";
    this.part("note").textContent = paused
      ? "Paused. Resuming goes on with the next message after the last one, as long as Kafka keeps them."
      : "";
    if (paused) this.close();
    else this.open();
  }

  draw() {
    const now = Date.now();
    while (this.arrivals.length && now - this.arrivals[0] > 5000) this.arrivals.shift();
    const rate = this.arrivals.length / 5;
    this.part("rate").textContent = rate < 10 ? rate.toFixed(1) : String(Math.round(rate));
    this.part("seen").textContent = this.seen.toLocaleString("en");
    this.part("dropped").textContent = this.dropped.toLocaleString("en");
    if (!this.waiting.length) return;
    const rows = this.part("rows");
    const fresh = document.createDocumentFragment();
    for (const data of this.waiting.reverse()) fresh.append(this.row(data));
    this.waiting = [];
    rows.prepend(fresh);
    while (rows.childElementCount > RING) rows.lastElementChild.remove();
  }

  row(data) {
    const row = document.createElement("tr");
    let record;
    try {
      record = JSON.parse(data);
    } catch {
      record = { value: data };
    }
    const time = (record.timestamp || "").slice(11, 23);
    const cells = [time, record.topic, record.partition, record.offset];
    for (const [index, text] of cells.entries()) row.append(cell(text ?? "", index > 1 ? "num" : ""));
    row.append(payload(record.key, record.key_encoding, "no key"));
    const value = payload(record.value, record.value_encoding, "tombstone");
    row.append(value);
    row.record = record;
    row.text = `${record.topic} ${record.key ?? ""} ${record.value ?? ""}`.toLowerCase();
    row.hidden = !row.text.includes(this.needle());
    return row;
  }

  // A click opens the whole value and the headers; a second one closes them.
  toggle(row) {
    if (!row || !row.record || String(getSelection())) return;
    const open = row.classList.toggle("open");
    const { value, headers } = row.record;
    const cell = row.lastElementChild;
    if (value == null) return;
    const heads = (headers || []).map(([name, text]) => `${name}: ${text}`).join("\n");
    const more = value.length > OPEN ? `\n… ${value.length - OPEN} more characters` : "";
    cell.textContent = open
      ? value.slice(0, OPEN) + more + (heads ? `\n\n${heads}` : "")
      : value.slice(0, PREVIEW);
  }

  needle() {
    return this.part("filter").value.toLowerCase();
  }

  filter() {
    const needle = this.needle();
    for (const row of this.part("rows").children) row.hidden = Boolean(row.text) && !row.text.includes(needle);
  }

  state(tone, word) {
    const label = this.part("word");
    if (label.textContent === word) return;
    label.textContent = word;
    this.part("state").className = `badge ${tone}`;
    this.part("icon").setAttribute("href", `/ui/assets/icons.svg#${ICONS[tone]}`);
  }
}

function names(event) {
  return event.topic ?? event.topic_name ?? (event.topics || []).join(", ");
}

function cell(text, className) {
  const element = document.createElement("td");
  element.className = className;
  element.textContent = text;
  return element;
}

function payload(text, encoding, absent) {
  if (text == null) return cell(absent, "none");
  const shown = encoding === "base64" ? `base64:${text}` : text;
  return cell(shown.slice(0, PREVIEW), "");
}

const root = document.getElementById("tail");
if (root) new Tail(root);
