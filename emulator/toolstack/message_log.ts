/** Ring -1's own messages, as many as its console ring holds; the oldest go first (xen:drivers/char/console.c conring). */
const SIZE = 32 * 1024;

export class MessageLog {
  #text = '';

  /** One line, or several; each gets Xen's `(XEN) `. */
  write(lines: string): void {
    for (const line of lines.split('\n')) this.#text += `(XEN) ${line}\n`;
    if (this.#text.length > SIZE) this.#text = this.#text.slice(this.#text.indexOf('\n', this.#text.length - SIZE) + 1);
  }

  read(): string {
    return this.#text;
  }

  clear(): void {
    this.#text = '';
  }
}
