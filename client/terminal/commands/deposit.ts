import { formatAddress } from '../../../market/address.ts'
import type { Client } from '../../client.ts'
import { codeOf } from '../../errors.ts'
import type { Deposit, DepositPlan } from '../../money/deposit.ts'
import { command, exitCodes, satoshis, usageError } from '../command.ts'
import type { Session } from '../session.ts'
import { coinOptions, coinsOf, isAgreed } from './money.ts'
import { amount, satoshiWord } from './wallet-text.ts'

export const depositCommand = command({
  name: 'deposit',
  usage: 'RELAY [SATOSHI] [--max-cost SATOSHI] [--yes] [--cancel]',
  summary: 'pay into your credit at a relay, with the coins of your wallet',
  help: [
    'asks before it pays, on a terminal. A payment whose answer was lost is presented again, also without SATOSHI:',
    'until the relay confirms it, no other is made. A part may count only when it is in a block.',
    '--max-cost SATOSHI  the most it may cost, with the fee of the network',
    '--yes               does not ask',
    '--cancel            takes back a payment that the relay did not confirm, unless it was sent',
    'What waited at the relay for credit goes up then. The backup of your coins, kept on your relays, costs credit too.',
    'Exit code 1 also where only an earlier payment was finished.',
    '--chain CHAIN       and the like: where your coins are, as for wallet',
  ],
  options: {
    ...coinOptions,
    'max-cost': { type: 'string' },
    yes: { type: 'boolean' },
    cancel: { type: 'boolean' },
  },
  positionals: [1, 2],
  async run(session, values, [relay = '', text]) {
    const { 'max-cost': most, yes = false, cancel = false } = values
    const client = await session.client()
    const options = { ...coinsOf(session, values), signal: session.signal }
    if (cancel) {
      if (text !== undefined) throw usageError('deposit takes SATOSHI or --cancel')
      const { txid, satoshis } = await client.cancelDeposit(relay, options)
      session.print(
        { event: 'cancelled', txid, satoshis },
        `the ${satoshis} satoshi are yours again, ${txid} is void`,
      )
      return exitCodes.ok
    }
    const wanted = text === undefined ? undefined : satoshiWord(text)
    const maxCost = most === undefined ? undefined : satoshis(most, 'max-cost')
    let plan: DepositPlan | undefined
    const agree = (asked: DepositPlan) => {
      plan = asked
      return yes ? Promise.resolve(true) : isAgreed(session, questionOf(asked))
    }
    const paid = await client
      .deposit(relay, wanted, { ...options, maxCost, agree })
      .catch(interrupted(session))
    if (paid !== undefined) return show(session, client, { paid, plan, wanted })
    if (plan === undefined) throw usageError('no payment waits to be confirmed: name the SATOSHI to pay in')
    session.say('not paid')
    return exitCodes.failed
  },
})

/** Of a payment that was signed there is always more to say than that somebody interrupted. */
function interrupted({ signal }: Session): (error: unknown) => never {
  return (error) => {
    if (signal.aborted && codeOf(error) === undefined) throw new Error('interrupted: nothing was paid')
    throw error
  }
}

const questionOf = ({ relay, satoshis, network, before }: DepositPlan): string =>
  `pay ${amount(satoshis, network)}, and the fee of the network, to ${formatAddress(relay)}, where your credit is ${before} satoshi?`

interface Done {
  readonly paid: Deposit
  readonly plan: DepositPlan | undefined
  readonly wanted: number | undefined
}

async function show(session: Session, client: Client, { paid, plan, wanted }: Done): Promise<number> {
  const { relay, network, txid, satoshis, fee, available, pending, isRepeat, afterBackup } = paid
  const before = plan === undefined ? {} : { before: plan.before }
  const wentUp = await bringUp(session, client, paid)
  const lines = [
    `${isRepeat ? 'confirmed: ' : ''}paid ${amount(satoshis, network)} to ${relay.url}${fee === null ? '' : `, fee ${fee} satoshi`}`,
    `credit there: ${plan === undefined ? '' : `${plan.before} before, `}${available} satoshi now${pending === '0' ? '' : `, and ${pending} more of this payment when it is in a block`}${afterBackup === undefined ? '' : `, ${afterBackup} after the backup of your coins`}`,
    ...(wentUp > 0 ? [`went up with it: ${wentUp} of your records that waited for this relay`] : []),
    `transaction ${txid}`,
  ]
  const row = {
    relay: formatAddress(relay),
    network,
    txid,
    satoshis,
    fee,
    ...before,
    available,
    pending,
    isRepeat,
    ...(afterBackup !== undefined && { afterBackup }),
    wentUp,
  }
  session.print(row, lines.join('\n'))
  if (wanted === undefined || wanted === satoshis) return exitCodes.ok
  session.say(
    `this was an earlier payment, which was not confirmed yet: the same command again pays ${wanted}`,
  )
  return exitCodes.failed
}

/** What credit was missing for goes up now; how many records did. */
async function bringUp(session: Session, client: Client, { relay }: Deposit): Promise<number> {
  const { signal } = session
  try {
    const { delivered, failures } = await client.flush({ signal, retryUnpaid: true, only: relay.key })
    session.warn(failures)
    return delivered
  } catch (error) {
    // The payment is made, and is to be told whatever else happens.
    session.warn([{ relay: relay.url, error: error as Error }])
    return 0
  }
}
