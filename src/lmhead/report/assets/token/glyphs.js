"use strict";
// Pieces of the vocabulary -> what is seen of them: white space and line ends as marks, what has no ink of its own or would
// turn the line around as a box with its name, control tokens and bytes as such. Text goes into text nodes and nowhere else.
(() => {
  const T = (window.lmheadTokens ??= {});

  const NAMES = new Map([
    [0x007f, "DEL"],
    [0x00a0, "NBSP"],
    [0x00ad, "SHY"],
    [0x034f, "CGJ"],
    [0x061c, "ALM"],
    [0x180e, "MVS"],
    [0x200b, "ZWSP"],
    [0x200e, "LRM"],
    [0x200f, "RLM"],
    [0x2028, "LSEP"],
    [0x2029, "PSEP"],
    [0x202a, "LRE"],
    [0x202b, "RLE"],
    [0x202c, "PDF"],
    [0x202d, "LRO"],
    [0x202e, "RLO"],
    [0x202f, "NNBSP"],
    [0x2060, "WJ"],
    [0x2066, "LRI"],
    [0x2067, "RLI"],
    [0x2068, "FSI"],
    [0x2069, "PDI"],
    [0x3000, "IDSP"],
    [0xfeff, "BOM"],
    [0xfffd, "U+FFFD"],
  ]);
  const JOINERS = new Map([
    [0x200c, "ZWNJ"],
    [0x200d, "ZWJ"],
  ]); // they join letters: written as they are among others
  const INVISIBLE = /[\p{Zs}\p{Zl}\p{Zp}\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}]/u;
  const MARKS = /^[\p{Mn}\p{Me}]+$/u; // of no width: they would sit on the token before
  const C0 =
    "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(
      " ",
    );

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  T.element = element;

  const named = (code) =>
    C0[code] ?? NAMES.get(code) ?? JOINERS.get(code) ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;

  const inkOf = (text, into, { flat = false, spaces = true } = {}) => {
    let plain = "";
    const flush = () => {
      if (plain) into.append(plain);
      plain = "";
    };
    const alone = [...text].every((character) => JOINERS.has(character.codePointAt(0)) || /\p{M}/u.test(character));
    if (MARKS.test(text)) plain = "\u25cc";
    for (const character of text) {
      const code = character.codePointAt(0);
      if (character === " " && !spaces) {
        plain += character;
      } else if (character === " ") {
        flush();
        into.append(element("i", "sp", " "));
      } else if (character === "\n") {
        flush();
        into.append(element("i", "mk", "\u21b5"));
        if (!flat) plain = "\n";
      } else if (character === "\t") {
        flush();
        into.append(element("i", "mk", "\u2192"));
        if (!flat) plain = "\t";
      } else if (JOINERS.has(code) && !alone) {
        plain += character;
      } else if (NAMES.has(code) || INVISIBLE.test(character)) {
        flush();
        into.append(element("i", "box", named(code)));
      } else {
        plain += character;
      }
    }
    flush();
  };

  const piece = (model, id) => {
    const given = Object.hasOwn(model.vocabulary, id) ? model.vocabulary[id] : null;
    if (given === null) return { kind: "unknown", text: `[${id}]` };
    if (typeof given === "string") return { kind: "text", text: given };
    return given.bytes !== undefined
      ? { kind: "bytes", text: given.bytes }
      : { kind: "control", text: String(given.control) };
  };

  // What an id stands for: {kind: text, bytes, control or unknown, text}.
  T.piece = (model, id) => {
    model.pieces ??= new Map();
    if (!model.pieces.has(id)) model.pieces.set(id, piece(model, id));
    return model.pieces.get(id);
  };

  T.isBlank = (model, id) => T.piece(model, id).kind === "text" && /^\s+$/.test(T.piece(model, id).text);

  const drawn = (model, id, flat) => {
    const { kind, text } = T.piece(model, id);
    const made = document.createDocumentFragment();
    if (kind === "text") {
      if (text === "") made.append(element("i", "box", "empty"));
      inkOf(text, made, { flat });
    } else if (kind === "bytes") {
      made.append(element("i", "raw", text.replace(/../g, "$& ").trim()));
    } else {
      const inner = element("i", "control");
      inkOf(text, inner, { flat: true });
      made.append(inner);
    }
    return made;
  };

  // A fragment of what is seen of an id; flat: on one line.
  T.glyphs = (model, id, flat = false) => {
    const known = (model[flat ? "flatGlyphs" : "lineGlyphs"] ??= new Map());
    if (!known.has(id)) known.set(id, drawn(model, id, flat));
    return known.get(id).cloneNode(true);
  };

  T.glyphsElement = (model, id) => {
    const made = element("bdi", "glyphs");
    made.append(T.glyphs(model, id, true));
    return made;
  };

  // Text of another model's tokens on one line, with the same marks.
  T.inked = (text) => {
    const made = element("bdi", "glyphs");
    inkOf(text, made, { flat: true });
    return made;
  };

  // A name or a sentence of the record, as it is, but for what has no ink.
  T.named = (text) => {
    const made = element("bdi");
    inkOf(String(text), made, { flat: true, spaces: false });
    return made;
  };

  const encoder = new TextEncoder();
  const strict = new TextDecoder("utf-8", { fatal: true });

  T.bytesOf = (model, id) => {
    const { kind, text } = T.piece(model, id);
    if (kind === "bytes") return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
    return kind === "text" ? encoder.encode(text) : new Uint8Array();
  };

  // Where tokens of bytes become text together: the token after the last of them and that text; null where they do not.
  T.byteGroup = (model, start, stop) => {
    const bytes = [];
    for (let i = start; i < Math.min(stop, start + 8) && T.piece(model, model.id[i]).kind === "bytes"; i++) {
      bytes.push(...T.bytesOf(model, model.id[i]));
      try {
        return { stop: i + 1, text: strict.decode(Uint8Array.from(bytes)) };
      } catch {
        // not whole yet
      }
    }
    return null;
  };
})();
