/** `npm run abi-check` */
import { checkAbi } from './abi_check.ts';

const { skipped, facts, differences } = checkAbi();
if (skipped !== undefined) console.log(`abi-check skipped: ${skipped}`);
else console.log([...differences, `${facts} facts compared with Xen's headers, ${differences.length} differ`].join('\n'));
process.exitCode = differences.length === 0 ? 0 : 1;
