/** How a node says no: a code of its RPC, and for a transaction the code and reason of the rule that it breaks. */

/** As SV Node numbers them (rpc/protocol.h). */
export const rpcCodes = {
  misc: -1,
  type: -3,
  unknown: -5,
  parameter: -8,
  deserialization: -22,
  verify: -25,
  rejected: -26,
  alreadyKnown: -27,
  request: -32600,
  method: -32601,
  params: -32602,
  internal: -32603,
  parse: -32700,
} as const

/** What kind of rule a transaction breaks (consensus/validation.h). */
export const rejections = {
  invalid: 16,
  nonStandard: 64,
  insufficientFee: 66,
  alreadyKnown: 257,
  conflict: 258,
} as const

export class RpcError extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.name = 'RpcError'
    this.code = code
  }
}

/** As `sendrawtransaction` refuses: `-26 CODE: REASON`. */
export const rejected = (kind: keyof typeof rejections, reason: string): RpcError =>
  new RpcError(rpcCodes.rejected, `${rejections[kind]}: ${reason}`)
