/* What the three code sizes share: where things lie, selectors, and how a case is begun and a value noted. */
BASE = 0x10000                  /* of the image: it fits one real-mode segment */
REAL_SEGMENT = (BASE >> 4)

CODE32 = 0x08
DATA32 = 0x10
USER_CODE32 = 0x1b
USER_DATA = 0x23
CODE16 = 0x28                   /* base BASE, limit 64 KiB */
DATA16 = 0x30
TSS32 = 0x38
TSS16 = 0x40
LDT = 0x48
CALL_GATE32 = 0x53
CALL_GATE16 = 0x5b
CONFORMING = 0x63
READ_ONLY = 0x6b
ABSENT = 0x73
EXECUTE_ONLY = 0x7b
CODE64 = 0x80
USER_CODE64 = 0x8b
TSS64 = 0x90
CALL_GATE64 = 0xa3
ABSENT_CODE = 0xb3
STACK16 = 0xb8
NEAR_USER_CODE32 = 0xc3         /* as CODE16 and DATA16, of 32 bits: 16-bit gates can return there */
NEAR_CODE32 = 0xc8

LOG = 0x18000                   /* MARK and a name begin a case; its values follow */
REAL_STACK = 0x2000             /* SS, SP 0x8000 */
KERNEL_STACK = 0x38000
RING0_STACK = 0x31000           /* of the task state segments */
IST_STACK = 0x32000
USER_STACK = 0x33000
PML4 = 0x40000
PDPT = 0x41000
PD = 0x42000
PT = 0x43000
PAE_TABLE = 0x44000
PD32 = 0x45000
PT32 = 0x46000
WINDOW = 0x800000               /* linear addresses with 4 KiB pages: */
PLAIN = WINDOW
NOT_PRESENT = (WINDOW + 0x1000)
RO_PAGE = (WINDOW + 0x2000)
KERNEL_PAGE = (WINDOW + 0x3000)
NX_PAGE = (WINDOW + 0x4000)
RESERVED_PAGE = (WINDOW + 0x5000)
FRAME = 0x80000                 /* what they all map */

MARK = 0x7ff7c0de

.macro NAME text
    .pushsection .rodata.text, "a"
77: .asciz "\text"
    .popsection
.endm

.macro CASE32 text
    NAME "\text"
    pushl $77b
    call begin32
.endm
.macro NOTE32 value:vararg
    pushl \value
    call note32
.endm

.macro CASE16 text
    NAME "\text"
    pushl $77b
    call begin16
.endm
.macro NOTE16 value:vararg
    pushl \value
    call note16
.endm

.macro CASE64 text
    NAME "\text"
    pushq $77b
    call begin64
.endm
.macro NOTE64 value:vararg
    pushq \value
    call note64
.endm

/* The instruction up to END is to fault: the handler notes how and goes on behind END. */
.macro FAULT32 text
    CASE32 "\text"
    movl $78f, fault_at
    movl $79f, resume
78:
.endm
.macro END32
    NOTE32 $0xbad
79:
.endm
.macro FAULT16 text
    CASE16 "\text"
    movl $78f-BASE, fault_at-BASE
    movl $79f-BASE, resume-BASE
78:
.endm
.macro END16
    NOTE16 $0xbad
79:
.endm
.macro FAULT64 text
    CASE64 "\text"
    movl $78f, fault_at
    movl $79f, resume
78:
.endm
.macro END64
    NOTE64 $0xbad
79:
.endm
