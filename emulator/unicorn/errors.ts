/** Errors as unicorn.js reports them: a failing function throws a string that names the C function, the code and its meaning. */
import { constants as uc } from './constants.ts';

/** What `uc_strerror` says. */
// biome-ignore format: a table
const MESSAGES: ReadonlyMap<number, string> = new Map<number, string>([
  [uc.ERR_OK,              'OK (UC_ERR_OK)'],
  [uc.ERR_NOMEM,           'No memory available or memory not present (UC_ERR_NOMEM)'],
  [uc.ERR_ARCH,            'Invalid/unsupported architecture (UC_ERR_ARCH)'],
  [uc.ERR_HANDLE,          'Invalid handle (UC_ERR_HANDLE)'],
  [uc.ERR_MODE,            'Invalid mode (UC_ERR_MODE)'],
  [uc.ERR_VERSION,         'Different API version between core & binding (UC_ERR_VERSION)'],
  [uc.ERR_READ_UNMAPPED,   'Invalid memory read (UC_ERR_READ_UNMAPPED)'],
  [uc.ERR_WRITE_UNMAPPED,  'Invalid memory write (UC_ERR_WRITE_UNMAPPED)'],
  [uc.ERR_FETCH_UNMAPPED,  'Invalid memory fetch (UC_ERR_FETCH_UNMAPPED)'],
  [uc.ERR_HOOK,            'Invalid hook type (UC_ERR_HOOK)'],
  [uc.ERR_INSN_INVALID,    'Invalid instruction (UC_ERR_INSN_INVALID)'],
  [uc.ERR_MAP,             'Invalid memory mapping (UC_ERR_MAP)'],
  [uc.ERR_WRITE_PROT,      'Write to write-protected memory (UC_ERR_WRITE_PROT)'],
  [uc.ERR_READ_PROT,       'Read from non-readable memory (UC_ERR_READ_PROT)'],
  [uc.ERR_FETCH_PROT,      'Fetch from non-executable memory (UC_ERR_FETCH_PROT)'],
  [uc.ERR_ARG,             'Invalid argument (UC_ERR_ARG)'],
  [uc.ERR_READ_UNALIGNED,  'Read from unaligned memory (UC_ERR_READ_UNALIGNED)'],
  [uc.ERR_WRITE_UNALIGNED, 'Write to unaligned memory (UC_ERR_WRITE_UNALIGNED)'],
  [uc.ERR_FETCH_UNALIGNED, 'Fetch from unaligned memory (UC_ERR_FETCH_UNALIGNED)'],
  [uc.ERR_RESOURCE,        'Insufficient resource (UC_ERR_RESOURCE)'],
  [uc.ERR_EXCEPTION,       'Unhandled CPU exception (UC_ERR_EXCEPTION)'],
]);

export function strerror(code: number): string {
  return MESSAGES.get(code) ?? 'Unknown error code';
}

/** A failure on its way to the interface function, which knows its own name. */
export class Failure {
  readonly code: number;

  constructor(code: number) {
    this.code = code;
  }
}

export function describeFailure(name: string, code: number): string {
  return `Unicorn.js: Function uc_${name} failed with code ${code}:\n${strerror(code)}`;
}
