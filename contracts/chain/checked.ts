/** A chain that need not answer yet: for programs that start while it is away. */
import type { Chain } from './chain.ts'
import { checkNetwork } from './networks.ts'

/** Before the first question that is answered it is checked whose money is there. @throws each call: ERR_CONFLICT, besides its own */
export function checkedChain(chain: Chain): Chain {
  let check: Promise<void> | undefined
  const checked =
    <A extends unknown[], R>(ask: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      check ??= checkNetwork(chain, chain).catch((error: unknown) => {
        check = undefined
        throw error
      })
      await check
      return ask(...args)
    }
  const { network, name, canScan, faucet } = chain
  return {
    ...{ network, name, canScan },
    tip: checked(() => chain.tip()),
    currentHeight: checked(() => chain.currentHeight()),
    isValidRootForHeight: checked((root, height) => chain.isValidRootForHeight(root, height)),
    placeAt: checked((height) => chain.placeAt(height)),
    broadcast: checked((transaction) => chain.broadcast(transaction)),
    status: checked((txid) => chain.status(txid)),
    transaction: checked((txid) => chain.transaction(txid)),
    proof: checked((txid) => chain.proof(txid)),
    isUnspent: checked((outpoint) => chain.isUnspent(outpoint)),
    feeRate: checked(() => chain.feeRate()),
    header: checked((height) => chain.header(height)),
    block: checked((height) => chain.block(height)),
    mempool: checked(() => chain.mempool()),
    faucet: faucet && checked(faucet),
    close: () => chain.close(),
  }
}
