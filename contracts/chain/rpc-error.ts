/** How a node says no: a code of its RPC and a sentence. */

/** As SV Node numbers and names them (rpc/protocol.h). */
export const rpcCodes = {
  miscError: -1,
  invalidAddressOrKey: -5,
  walletInsufficientFunds: -6,
  invalidParameter: -8,
  deserializationError: -22,
  verifyError: -25,
  verifyRejected: -26,
  verifyAlreadyInChain: -27,
  invalidRequest: -32600,
  methodNotFound: -32601,
  internalError: -32603,
  parseError: -32700,
} as const

/** Reported by the node itself: it has understood the question. */
export class RpcError extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.name = 'RpcError'
    this.code = code
  }
}
