/** `tm_relay_market`: the adverts of relays as tokens (docs/protocol.md §12.7), each relay's newest one. */
import type { AdmittanceInstructions } from '@bsv/sdk'
import type { TopicManager } from '@bsv/overlay/TopicManager.ts'
import type { Chain } from '../../contracts/chain/chain.ts'
import { marketTopic, readToken, textOfScript } from '../../contracts/overlay/token.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { type Transaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { type AdvertNetwork, checkAdvert, type SealedAdvert } from '../../market/advert.ts'
import { MarketError } from '../../market/errors.ts'
import { version } from '../version.ts'
import type { MarketIndex } from './market-lookup.ts'

export interface MarketTopicOptions {
  readonly index: Pick<MarketIndex, 'hasRoomFor'>
  readonly chain: () => Pick<Chain, 'isUnspent'>
  readonly network: AdvertNetwork
  readonly now: () => number
  /** Of the stamp; as readers ask for it unless said. */
  readonly bits?: number | undefined
}

/** Outputs of one transaction that are looked at. */
const mostTokens = 16

export class MarketTopic implements TopicManager {
  readonly #options: MarketTopicOptions

  constructor(options: MarketTopicOptions) {
    this.#options = options
  }

  async identifyAdmissibleOutputs(beef: number[]): Promise<AdmittanceInstructions> {
    const { index, chain } = this.#options
    const { txid, transaction } = parseBeef(Uint8Array.from(beef)).subject
    const outputsToAdmit: number[] = []
    const relays = new Set<string>()
    for (const { vout, sealed } of this.#tokensIn(transaction)) {
      const relay = sealed.advert.serverPubKey
      if (relays.has(relay) || !index.hasRoomFor(sealed, { txid, vout })) continue
      // Whoever submits it may keep to himself what spends it.
      if ((await chain().isUnspent({ txid, vout })) === false) continue
      relays.add(relay)
      outputsToAdmit.push(vout)
    }
    return { outputsToAdmit, coinsToRetain: [] }
  }

  /** Whether there is news in it: of what was heard before, nobody need be convinced. */
  concerns(transaction: Transaction): boolean {
    const tokens = this.#tokensIn(transaction)
    if (tokens.length === 0) return false
    const txid = txidOf(transaction)
    return tokens.some(({ vout, sealed }) => this.#options.index.hasRoomFor(sealed, { txid, vout }))
  }

  /** Those whose token and advert hold now. */
  #tokensIn({ outputs }: Transaction): { vout: number; sealed: SealedAdvert }[] {
    const { now, network, bits } = this.#options
    const tokens = outputs.flatMap(({ script }, vout) => (textOfScript(script) === undefined ? [] : [vout]))
    return tokens.slice(0, mostTokens).flatMap((vout) => {
      try {
        const sealed = readToken(outputs[vout]!.script) // a place in it
        return [{ vout, sealed: checkAdvert(sealed, { now: now(), network, bits }) }]
      } catch (error) {
        if (error instanceof MarketError) return []
        throw error
      }
    })
  }

  async getDocumentation(): Promise<string> {
    return topicDocumentation
  }

  async getMetaData() {
    return { name: marketTopic, shortDescription: 'Adverts of message relays', version }
  }
}

const topicDocumentation = `# ${marketTopic}

Admits an output whose script is \`<key> OP_CHECKSIG <advert> <signature> OP_2DROP\`:

- \`advert\` is the canonical text of a relay's advert, signed, stamped and not expired;
- \`key\` is the BRC-42 child of its \`serverPubKey\` for the protocol \`[2, 'relay market advert']\`, key ID \`1\`, counterparty
  anyone, seen \`forSelf\`;
- \`signature\` is by that key, over the SHA-256 of the advert's text;
- \`seq\` of the advert is above every one that this host has seen of that relay.

A token that is spent is revoked. One that is not in a block is sent to the network first.
`
