/** The page through which a PV64 kernel may make hypercalls: 32 bytes a number (xen:arch/x86/pv/hypercall.c). A kernel may as well do the SYSCALL itself. */
const SLOT_SIZE = 32;
const HYPERVISOR_iret = 23;
const INT3 = 0xcc;

/** push rcx; push r11; mov eax, nr; syscall; pop r11; pop rcx; ret */
function callSlot(nr: number): number[] {
  return [0x51, 0x41, 0x53, 0xb8, nr, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
}

/** iret does not return: push rcx; push r11; push rax; mov eax, 23; syscall */
const IRET_SLOT = [0x51, 0x41, 0x53, 0x50, 0xb8, HYPERVISOR_iret, 0, 0, 0, 0x0f, 0x05];

export function fillHypercallPage(page: Uint8Array): void {
  page.fill(INT3);
  for (let nr = 0; nr * SLOT_SIZE < page.length; nr++) page.set(nr === HYPERVISOR_iret ? IRET_SLOT : callSlot(nr), nr * SLOT_SIZE);
}
