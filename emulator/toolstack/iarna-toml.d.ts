/** The part of @iarna/toml that a bundle for any place can hold; its main entry wants Node. */
declare module '@iarna/toml/parse-string.js' {
  /** Throws an error with `line` and `col`, counted from 0. */
  export default function parseString(text: string): Record<string, unknown>;
}
