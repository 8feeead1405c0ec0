/** A chain that did not answer when it was opened: what is known without it can still be told. */
import type { Chain, Network } from '../../contracts/chain/chain.ts'
import type { ChainChoice } from '../../contracts/chain/open.ts'
import type { MarketError } from '../../market/errors.ts'

/** Every question gets `why` for an answer. */
export function awayChain({ kind, address }: ChainChoice, network: Network, why: MarketError): Chain {
  const away = (): Promise<never> => Promise.reject(why)
  return {
    network,
    name: address.url.origin,
    canScan: kind !== 'arc',
    tip: away,
    placeAt: away,
    broadcast: away,
    status: away,
    transaction: away,
    proof: away,
    isUnspent: away,
    header: away,
    feeRate: away,
    block: away,
    mempool: away,
    isValidRootForHeight: away,
    currentHeight: away,
    ...(network === 'devnet' && { faucet: away }),
    close: async () => undefined,
  }
}
