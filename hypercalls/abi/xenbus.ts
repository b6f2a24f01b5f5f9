/** xen:public/io/xenbus.h: how far the two ends of a paravirtual device are with each other, as their `state` nodes say. */
// biome-ignore format: one state a line
export const XenbusState = {
  Unknown: 0,
  Initialising: 1,
  InitWait: 2,      // the back end waits for the front end's nodes
  Initialised: 3,
  Connected: 4,
  Closing: 5,
  Closed: 6,
} as const;
