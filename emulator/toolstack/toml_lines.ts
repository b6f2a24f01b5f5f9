/**
 * In which lines of a TOML text its tables and keys stand, in whatever way they are written; the parser (host_file.ts) does
 * not tell of what it understood. It has understood the text: what is no TOML is not looked for here.
 */

/** From the outermost table inwards; a number is an element of a list. */
export type Path = readonly (string | number)[];

/** The line, counted from 1, in which `path` stands, or else the nearest part of it that does. undefined: none of it. */
export function lineOf(text: string, path: Path): number | undefined {
  const { lines } = new Scanner(text);
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(nameOf(path.slice(0, length)));
    if (line !== undefined) return line;
  }
  return undefined;
}

const nameOf = (path: Path): string => JSON.stringify(path);

const SPACE = /[ \t]*/y;
/** Between statements, and between the elements of a list. */
const BLANKS = /(?:[ \t\r\n]|#.*)*/y;
const WORD = /[\w-]+/y;
/** Strings with three quotes first, which two of three would end. */
const STRING = /"""(?:[^\\]|\\[\s\S])*?"""+|'''[\s\S]*?'''+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'/y;
const SCALAR = /[^,\]}#\r\n]*/y;

class Scanner {
  readonly lines = new Map<string, number>();
  readonly #text: string;
  /** How many [[headers]] of a name there have been. */
  readonly #counts = new Map<string, number>();
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
    let table: Path = [];
    for (this.#take(BLANKS); this.#at < text.length; this.#take(BLANKS)) {
      const before = this.#at;
      if (text[this.#at] === '[') table = this.#header();
      else this.#pair(table);
      if (this.#at === before) return;
    }
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const [taken] = pattern.exec(this.#text) ?? [''];
    this.#at += taken.length;
    this.#line += taken.split('\n').length - 1;
    return taken;
  }

  #takeIf(mark: string): boolean {
    const isThere = this.#text.startsWith(mark, this.#at);
    if (isThere) this.#at += mark.length;
    return isThere;
  }

  /** What stands first counts. */
  #note(path: Path): void {
    const name = nameOf(path);
    if (!this.lines.has(name)) this.lines.set(name, this.#line);
  }

  /** `a."b".c` */
  #key(): string[] {
    const words: string[] = [];
    do {
      this.#take(SPACE);
      const quoted = this.#take(STRING);
      words.push(quoted === '' ? this.#take(WORD) : unquoted(quoted));
      this.#take(SPACE);
    } while (this.#takeIf('.'));
    return words;
  }

  #header(): Path {
    const isElement = this.#takeIf('[[');
    if (!isElement) this.#takeIf('[');
    let path: Path = [];
    const words = this.#key();
    for (const [i, word] of words.entries()) {
      path = [...path, word];
      this.#note(path);
      const name = nameOf(path);
      const isNew = isElement && i === words.length - 1;
      if (isNew) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
      const count = this.#counts.get(name);
      if (count !== undefined) path = [...path, count - 1];
      this.#note(path);
    }
    this.#takeIf(isElement ? ']]' : ']');
    return path;
  }

  /** `key = value` */
  #pair(table: Path): void {
    let path = table;
    for (const word of this.#key()) {
      path = [...path, word];
      this.#note(path);
    }
    this.#takeIf('=');
    this.#take(SPACE);
    this.#value(path);
  }

  #value(path: Path): void {
    if (this.#takeIf('[')) this.#parts(']', (index) => this.#element([...path, index]));
    else if (this.#takeIf('{')) this.#parts('}', () => this.#pair(path));
    else if (this.#take(STRING) === '') this.#take(SCALAR);
  }

  #element(path: Path): void {
    this.#note(path);
    this.#value(path);
  }

  #parts(end: string, takePart: (index: number) => void): void {
    for (let index = 0; this.#at < this.#text.length; index++) {
      this.#take(BLANKS);
      if (this.#takeIf(end)) return;
      takePart(index);
      this.#take(BLANKS);
      this.#takeIf(',');
    }
  }
}

/** Escapes are for keys that nobody asks for. */
const unquoted = (text: string): string => text.slice(1, -1);
