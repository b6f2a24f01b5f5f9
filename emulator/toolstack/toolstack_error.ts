/** What the toolstack refuses, in the words of the real one where that has any; `code` is libxl's (xen:tools/include/libxl_error). */
export const ERROR_FAIL = -3;
export const ERROR_INVAL = -6;
export const ERROR_GUEST_TIMEDOUT = -9;

export class ToolstackError extends Error {
  readonly code: number;

  constructor(message: string, code = ERROR_FAIL) {
    super(message);
    this.code = code;
  }
}
