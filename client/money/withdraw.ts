/**
 * Being paid back what is left in the purse `credit` of a relay (docs/protocol.md §4.9). The signed request is on disk before
 * it is sent, and names the withdrawal: however often it is asked for, the relay pays once. It is kept until the money is in
 * the wallet; an answer only as long as it may still bring it there.
 */
import type { RequestOf } from '../../contracts/api.ts'
import { feeFor, type Network } from '../../contracts/chain/chain.ts'
import { type NamedWithdrawal, Withdrawal } from '../../contracts/payment.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { mostPaidFeeRate } from '../../contracts/wallet/actions/draft-size.ts'
import type { RelayAddress } from '../../market/address.ts'
import { fromBase64, fromHex, toBase64, toUtf8 } from '../../market/bytes.ts'
import type { Context } from '../context.ts'
import { ClientError, isRetryable, messageOf, Refused, retold } from '../errors.ts'
import { forgetWithdrawal, type OpenWithdrawal, openWithdrawal, saveWithdrawal } from '../home/payments.ts'
import type { CallOptions } from '../wire/connection.ts'
import { post } from '../wire/post.ts'
import { isReplayed, isStale, repeatableMs } from '../wire/repeat.ts'
import { checkNetwork } from './deposit.ts'
import type { Parties } from './payer.ts'
import { webPost } from './web-session.ts'

export interface Withdrawn {
  readonly relay: RelayAddress
  readonly network: Network
  readonly txid: string
  /** What left the purse; `fee` of it did not arrive. Satoshi. */
  readonly satoshis: string
  readonly fee: string
  /** It was asked for earlier, and did not arrive then. */
  readonly isRepeat: boolean
}

/**
 * Asks for `satoshis`, or all there is; or finishes what an earlier call asked for.
 * @throws Refused: nothing was paid, unless it may succeed later: then it is asked for again, as after ERR_UNREACHABLE, and
 * after ERR_UNTRUSTED for an answer that is not about what was asked for, or says less than it pays; ERR_UNSUPPORTED for a
 * relay without wallet
 */
export function withdraw(
  ctx: Context,
  { relay, funds, satoshis }: Parties & { readonly satoshis?: number | undefined },
  { signal }: CallOptions = {},
): Promise<Withdrawn> {
  const work = async () => {
    const network = await funds.network()
    const earlier = await openWithdrawal(ctx.home, relay.key)
    // What was answered needs no relay any more.
    if (earlier?.paid === undefined) await checkNetwork(ctx, { relay, network, signal })
    const amount = satoshis === undefined ? {} : { satoshis: String(satoshis) }
    const open = earlier ?? (await begin(ctx, relay, { request: { type: 'withdraw', ...amount }, signal }))
    const isRepeat = earlier !== undefined
    const answered = await answerTo(ctx, { relay, funds }, { open, isRepeat, signal })
    await bringIn(ctx, { relay, funds }, answered)
    await forgetWithdrawal(ctx.home, relay.key)
    const { txid, fee, satoshis: left } = answered.paid
    return { relay, network, txid, satoshis: left, fee, isRepeat }
  }
  return ctx.home.lock(`withdrawal-${relay.key}`, work, { signal })
}

async function begin(
  ctx: Context,
  relay: RelayAddress,
  { request, signal }: { request: RequestOf<'withdraw'>; signal: AbortSignal | undefined },
): Promise<OpenWithdrawal> {
  const open = { request: await ctx.connect(relay).seal(request, signal) }
  await saveWithdrawal(ctx.home, relay, open)
  return open
}

interface Asking {
  readonly open: OpenWithdrawal
  /** It may have been answered before. */
  readonly isRepeat: boolean
  readonly signal: AbortSignal | undefined
}

interface Answered {
  readonly open: OpenWithdrawal
  readonly paid: Withdrawal
}

async function answerTo(ctx: Context, parties: Parties, asking: Asking): Promise<Answered> {
  const { open } = asking
  if (open.paid !== undefined) return { open, paid: open.paid }
  try {
    return await ask(ctx, parties, asking)
  } catch (error) {
    const isNo = error instanceof Refused && error.signed && !isRetryable(error)
    if (isNo) await forgetWithdrawal(ctx.home, parties.relay.key)
    throw isNo ? error : unfinished(error)
  }
}

async function ask(ctx: Context, parties: Parties, { open, isRepeat, signal }: Asking): Promise<Answered> {
  const { relay } = parties
  const { clock } = ctx.connect(relay)
  const { msg } = open.request
  // Later the relay does not know the request any more, but still the withdrawal that it names.
  if (isRepeat && msg.timestamp < clock.now - repeatableMs)
    return { open, paid: await askByName(ctx, parties, { open, signal }) }
  try {
    return { open, paid: await askSigned(ctx, relay, { open, signal }) }
  } catch (error) {
    if (isRepeat && (isStale(error) || isReplayed(error)))
      return { open, paid: await askByName(ctx, parties, { open, signal }) }
    // The relay's clock is another than ours, and nothing was done.
    if (!isStale(error) || !clock.follow(error)) throw error
    const anew = await begin(ctx, relay, { request: msg.request, signal })
    return { open: anew, paid: await askSigned(ctx, relay, { open: anew, signal }) }
  }
}

async function askSigned(
  ctx: Context,
  relay: RelayAddress,
  { open: { request }, signal }: Pick<Asking, 'open' | 'signal'>,
): Promise<Withdrawal> {
  const connection = ctx.connect(relay)
  const text = await post(connection, request.text, signal)
  return connection.open(text, request).reply.result
}

async function askByName(
  ctx: Context,
  { relay, funds }: Parties,
  { open: { request }, signal }: Pick<Asking, 'open' | 'signal'>,
): Promise<Withdrawal> {
  const { satoshis } = request.msg.request
  const body: NamedWithdrawal = { id: request.hash, ...(satoshis !== undefined && { satoshis }) }
  const web = { relay, prover: await funds.payer(), dialer: ctx.dialer }
  const answer = await webPost(web, { path: '/withdraw', body, signal })
  const { data } = Withdrawal.safeParse('value' in answer ? answer.value : undefined)
  if (data !== undefined) return data
  throw new ClientError('ERR_UNTRUSTED', `${relay.url} does not say what it paid back`)
}

/**
 * Into the wallet, with the answer on disk while it is on its way there: a relay that goes away takes nothing along. What
 * will never come in is forgotten, so that the next call asks again: the relay may have another answer, after a
 * reorganisation or a fault of its own.
 */
async function bringIn(ctx: Context, { relay, funds }: Parties, { open, paid }: Answered): Promise<void> {
  const { request } = open
  const { tx, derivationPrefix, derivationSuffix } = paid
  try {
    checkPaid(relay, { open, paid })
    await saveWithdrawal(ctx.home, relay, { request, paid })
    const payer = await funds.payer()
    await payer.internalizeAction({
      tx: [...fromBase64(tx)],
      description: 'withdrawal from a relay',
      labels: ['relay'],
      outputs: [
        {
          outputIndex: 0,
          protocol: 'wallet payment',
          paymentRemittance: { derivationPrefix, derivationSuffix, senderIdentityKey: relay.key },
        },
      ],
    })
  } catch (error) {
    if (!isRetryable(error)) await saveWithdrawal(ctx.home, relay, { request })
    throw unfinished(error)
  }
}

/**
 * In satoshi. The fee is the relay's to name and ours to bear: that of one input and two outputs, in bytes, at the highest
 * rate that wallets here pay, ten times the usual one. A relay that names more keeps the rest.
 */
const mostFee = feeFor(226, mostPaidFeeRate)

/** @throws ERR_UNTRUSTED for another withdrawal than was asked for, and for less than the relay says it paid */
function checkPaid({ url }: RelayAddress, { open, paid }: Answered): void {
  const { msg, hash } = open.request
  const { satoshis, fee, txid, tx, derivationPrefix, derivationSuffix } = paid
  const untrusted = (what: string): ClientError => new ClientError('ERR_UNTRUSTED', `${url} ${what}`)
  // What was paid for an earlier request has other names.
  const isOurs = derivationPrefix === toBase64(fromHex(hash)) && derivationSuffix === suffix
  const ordered = msg.request.satoshis ?? satoshis
  if (!isOurs || satoshis !== ordered) throw untrusted('answers with another withdrawal than was asked for')
  if (Number(fee) > mostFee)
    throw untrusted(`takes ${fee} satoshi for the fee of the network, which is at most ${mostFee}`)
  const { subject } = parseBeef(fromBase64(tx))
  if (subject.txid !== txid || subject.transaction.outputs[0]?.satoshis !== Number(satoshis) - Number(fee))
    throw untrusted('pays something else than it says')
}

/** Of the names of a withdrawal's key (BRC-29), as the prefix is its id (docs/protocol.md §4.9). */
const suffix = toBase64(toUtf8('withdrawal'))

const unfinished = (error: unknown): Error =>
  retold(error, `${messageOf(error)}; the same command asks again for the same withdrawal`)
