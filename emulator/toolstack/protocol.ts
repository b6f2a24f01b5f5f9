/**
 * How the command and a host talk: lines of JSON over a socket. A request is `{"operation": NAME, ...arguments}`, its one
 * answer `{"result": ...}` or `{"error": TEXT, "code": N}`, before which `save` tells `{"progress": ...}`; the next request is
 * looked at when the one before is answered.
 * After `console` the socket carries `{"input": BASE64}` one way and `{"output": BASE64}` and `{"end": true}` the other;
 * after `trace` `{"trace": TEXT}` comes, and after a request `trace_stop`, or when it is over, `{"end": true, "lost": BOOLEAN}`.
 */

/** A request longer than this is refused and its sender cut off. */
export const MAX_LINE_SIZE = 1024 * 1024;

export type Reply = { readonly result: unknown } | { readonly error: string; readonly code: number };
