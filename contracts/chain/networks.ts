/** By which blocks networks are told apart. */
import { MarketError } from '../../market/errors.ts'
import type { Txid } from '../transaction/transaction.ts'
import type { Network, Place } from './chain.ts'
import { devnetGenesis } from './devnet/genesis.ts'

export const genesisOf: Readonly<Record<Network, Txid>> = {
  main: '000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f',
  test: '000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943',
  regtest: '0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206',
  devnet: devnetGenesis,
}

/** Chains that share the first block of main and parted later are other money: this is the first block that is only BSV's. */
export const mainFork: Place = {
  height: 556_767,
  hash: '000000000000000001d956714215d96ffc00e0afda4cd0a96c96f8d802b1662b',
}

/**
 * @throws ERR_CONFLICT when the money there is not the money of this network; ERR_CHAIN_UNAVAILABLE when that cannot be
 * told (yet)
 */
export async function checkNetwork(
  source: { placeAt(height: number): Promise<Place | undefined> },
  { network, name }: { network: Network; name: string },
): Promise<void> {
  const genesis = (await source.placeAt(0))?.hash
  if (genesis === undefined)
    throw new MarketError('ERR_CHAIN_UNAVAILABLE', `${name} does not tell its first block`)
  if (genesis !== genesisOf[network]) {
    const actual = Object.entries(genesisOf).find(([, hash]) => hash === genesis)?.[0]
    throw new MarketError(
      'ERR_CONFLICT',
      `${name} is on ${actual ?? 'an unknown network'}, not on ${network}`,
    )
  }
  if (network !== 'main') return
  const fork = (await source.placeAt(mainFork.height))?.hash
  if (fork === undefined)
    throw new MarketError(
      'ERR_CHAIN_UNAVAILABLE',
      `${name} has not read the chain as far as height ${mainFork.height}`,
    )
  if (fork !== mainFork.hash) throw new MarketError('ERR_CONFLICT', `${name} is on a chain that is not BSV's`)
}
