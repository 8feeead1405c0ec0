/** How a node refuses a transaction: with the code and the reason of the rule that it breaks. */
import { RpcError, rpcCodes } from '../rpc-error.ts'

/** What kind of rule it is (consensus/validation.h). */
const rejections = {
  invalid: 16,
  nonStandard: 64,
  insufficientFee: 66,
  alreadyKnown: 257,
  conflict: 258,
} as const

/** As `sendrawtransaction` refuses: `-26 CODE: REASON`. */
export const rejected = (kind: keyof typeof rejections, reason: string): RpcError =>
  new RpcError(rpcCodes.verifyRejected, `${rejections[kind]}: ${reason}`)
