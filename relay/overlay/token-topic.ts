/** A topic of tokens of one kind: admits what verifies and is not known to be spent. */
import type { AdmittanceInstructions } from '@bsv/sdk'
import type { TopicManager } from '@bsv/overlay/TopicManager.ts'
import type { Chain } from '../../contracts/chain/chain.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { type Transaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { version } from '../version.ts'
import type { LevelStorage } from './storage.ts'
import { TokenIndex } from './token-index.ts'
import type { Claim, TokenKind } from './token-kind.ts'
import type { Topic } from './topic.ts'

export interface TokenTopicDeps {
  readonly storage: LevelStorage
  readonly chain: () => Pick<Chain, 'isUnspent'>
  /** Tokens, at most, for tests. */
  readonly most?: number | undefined
}

/** Outputs of one transaction that are looked at; each costs two signatures. */
const mostTokens = 64

export async function openTokenTopic<C extends Claim>(
  kind: TokenKind<C>,
  { storage, chain, most }: TokenTopicDeps,
): Promise<Topic & { readonly index: TokenIndex<C> }> {
  const index = await TokenIndex.open(kind, storage, most)
  const newIn = (transaction: Transaction): number[] => {
    const tokens = transaction.outputs.flatMap(({ script }, vout) => (kind.parse(script) ? [vout] : []))
    if (tokens.length === 0) return []
    const txid = txidOf(transaction)
    return tokens.slice(0, mostTokens).filter((vout) => {
      const claim = kind.read(transaction.outputs[vout]!.script) // a place in it
      return claim !== undefined && index.hasRoomFor(claim, { txid, vout })
    })
  }
  const manager: TopicManager = {
    async identifyAdmissibleOutputs(beef): Promise<AdmittanceInstructions> {
      const { txid, transaction } = parseBeef(Uint8Array.from(beef)).subject
      const outputsToAdmit: number[] = []
      // Whoever submits it may keep to himself what spends it.
      for (const vout of newIn(transaction))
        if ((await chain().isUnspent({ txid, vout })) !== false) outputsToAdmit.push(vout)
      return { outputsToAdmit, coinsToRetain: [] }
    },
    getDocumentation: async () => `# ${kind.topic}\n\n${kind.documentation.topic}\n`,
    getMetaData: async () => ({ name: kind.topic, shortDescription: kind.about.topic, version }),
  }
  return {
    ...{ name: kind.topic, service: kind.service, aliases: kind.aliases, manager, lookup: index, index },
    concerns: (transaction) => newIn(transaction).length > 0,
    held: () => index.held(),
    sweep: () => {},
  }
}
