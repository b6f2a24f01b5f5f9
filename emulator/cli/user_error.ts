/** A mistake of whoever typed the command: told in one line, with what to do about it. Exit status 1. */
export class UserError extends Error {}
