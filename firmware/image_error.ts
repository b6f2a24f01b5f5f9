/** Why an image cannot be booted, and what its owner can do: a value, as every mistake of a user or guest is. */
export class ImageError {
  readonly reason: string;
  readonly advice: string;

  constructor(reason: string, advice: string) {
    this.reason = reason;
    this.advice = advice;
  }

  /** One line, to stand behind the file's name. */
  get message(): string {
    return `${this.reason}; ${this.advice}`;
  }
}
