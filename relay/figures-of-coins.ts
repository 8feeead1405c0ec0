/** The figures of the relay's wallet (docs/metrics.md): none where it has no chain. */
import type { Figure, Moment } from './figures.ts'

const ofNetwork = (
  name: string,
  help: string,
  at: (treasury: NonNullable<Moment['treasury']>) => number | null,
): Figure => ({
  ...{ type: 'gauge', name, help, labels: ['network'] },
  at: ({ treasury }) => {
    const value = treasury === undefined ? null : at(treasury)
    return value === null ? [] : [{ labels: { network: treasury!.network }, value }] // it has a value
  },
})

export const figuresOfCoins: readonly Figure[] = [
  ofNetwork(
    'relay_chain_height',
    'Height of the best chain, when it was heard last',
    ({ status }) => status.tip,
  ),
  ofNetwork(
    'relay_chain_silence_seconds',
    'Since the chain answered, or since the start when it never did',
    ({ silentSeconds }) => silentSeconds,
  ),
  {
    type: 'gauge',
    name: 'relay_wallet_satoshi',
    help: 'Coins of the relay, when they followed the chain last',
    labels: ['network', 'kind'],
    at: ({ treasury }) => {
      const { network, balance } = { balance: null, ...treasury?.status }
      if (network === undefined || balance === null) return []
      const { confirmed, unconfirmed, reserved } = balance
      return Object.entries({ confirmed, unconfirmed, reserved }).map(([kind, value]) => ({
        labels: { network, kind },
        value,
      }))
    },
  },
]
