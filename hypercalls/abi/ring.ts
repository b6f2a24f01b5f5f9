/** xen:public/io/ring.h: the head of the page in which the two ends of a paravirtual device share a ring. */
import { pad, struct } from './struct.ts';
import { type Type, u32 } from './types.ts';

/** `ring` is the first of its entries, each a request or its response; `entry` is the larger of the two. */
export const sring = <T>(name: string, entry: Type<T>) =>
  struct(name, {
    /** [guest] */
    req_prod: u32,
    /** [backend]: the guest tells of requests when it has put this one. */
    req_event: u32,
    /** [backend] */
    rsp_prod: u32,
    /** [guest]: it wants to be told when this response is there. */
    rsp_event: u32,
    pvt: pad(4),
    __pad: pad(44),
    ring: entry,
  });

/** Where the fields are, whatever the entries. */
export const sring_offset = sring('sring', u32).offset;
