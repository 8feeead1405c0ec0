/** Renewal and top-up: one transaction that ends a contract and funds the next. The old one lives until this is deep. */
import { feeFor } from '../chain/chain.ts'
import { p2pkh } from '../transaction/script.ts'
import { type Outpoint, type Output, serializeOutput } from '../transaction/transaction.ts'
import { checkPaid, type Contract } from './contract.ts'
import { demand } from './refusal.ts'
import { canExpire } from './terms.ts'
import {
  changeOf,
  type Draft,
  draftOf,
  type Funding,
  inputBytes,
  mostStakes,
  p2pkhOutputBytes,
  sumOf,
  unsigned,
} from './transactions.ts'

export interface Renewal {
  /** What is renewed: its joint output. */
  readonly joint: Outpoint
  /** To the server for the time until now, in satoshi. */
  readonly paid: number
  /** Of the client: at least one stake, by which it can take the renewal back. */
  readonly funding: Funding
}

/**
 * The rollover R. In: the joint output, stakes of the client. Out: the next joint output, what the server has earned and
 * need not put in again, the client's change. The client pays the fee.
 * @throws refusals: other parties, no stake, a server that would have to pay in, amounts that do not fit
 */
export function rolloverDraft(old: Contract, next: Contract, { joint, paid, funding }: Renewal): Draft {
  const { stakes } = funding
  const isSame = old.terms.client === next.terms.client && old.terms.server === next.terms.server
  demand(isSame, 'wrong-party', 'a contract is renewed between the same two')
  demand(old.terms.network === next.terms.network, 'wrong-network', 'a contract is renewed on its network')
  demand(stakes.length > 0 && stakes.length <= mostStakes, 'too-many-stakes', `1 to ${mostStakes} stakes`)
  checkPaid(old.terms, paid)
  const server = paid + old.terms.depositServer - next.terms.depositServer
  demand(server >= 0, 'server-deposit', 'the server would have to pay in')
  const toServer: Output[] = server === 0 ? [] : [{ satoshis: server, script: p2pkh(old.keys.payout.server) }]
  const fee = feeFor(rolloverBytes(old, next, funding, toServer.length), next.terms.feeRate)
  const left = old.joint.satoshis + sumOf(funding) - next.joint.satoshis - server - fee
  const outputs = [next.joint, ...toServer, ...changeOf(funding, left, 'client')]
  const draft = draftOf(stakes, outputs)
  return { transaction: unsigned([joint, ...stakes], outputs), spent: [old.joint, ...draft.spent] }
}

/** Two signatures of 71 bytes with their types, the empty item before them, the choice of the branch behind them. */
const jointUnlockBytes = 1 + 2 * (1 + 72) + 1
const frameBytes = 4 + 1 + 1 + 4

/** By the template, so that both sides compute the same fee. */
function rolloverBytes(old: Contract, next: Contract, { stakes, change }: Funding, toServer: number): number {
  const jointInput = 36 + 1 + jointUnlockBytes - (canExpire(old.terms) ? 0 : 1) + 4
  const p2pkhs = toServer + (change === null ? 0 : 1)
  const outputs = serializeOutput(next.joint).length + p2pkhs * p2pkhOutputBytes
  return frameBytes + jointInput + inputBytes * stakes.length + outputs
}
