/**
 * Being paid back what is left in the purse `credit` of a relay (docs/protocol.md §4.9). The signed request is on disk before
 * it is sent, and names the withdrawal: however often it is asked for, the relay pays once. It is kept until the money is in
 * the wallet.
 */
import type { RequestOf } from '../../contracts/api.ts'
import { Withdrawal } from '../../contracts/payment.ts'
import type { Network } from '../../contracts/chain/chain.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import type { RelayAddress } from '../../market/address.ts'
import { fromBase64 } from '../../market/bytes.ts'
import type { Context } from '../context.ts'
import { ClientError, isRetryable, messageOf, Refused, retold } from '../errors.ts'
import { forgetWithdrawal, type OpenWithdrawal, openWithdrawal, saveWithdrawal } from '../home/payments.ts'
import type { CallOptions } from '../wire/connection.ts'
import { fetchText } from '../wire/http.ts'
import { connectionLimits } from '../wire/info.ts'
import { isReplayed, isStale, repeatableMs } from '../wire/repeat.ts'
import { checkNetwork } from './deposit.ts'
import type { Funds } from './payer.ts'
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

interface Parties {
  readonly relay: RelayAddress
  readonly funds: Funds
}

/**
 * Asks for `satoshis`, or all there is; or finishes what an earlier call asked for.
 * @throws Refused: nothing was paid, unless it may succeed later: then it is asked for again, as after ERR_UNREACHABLE;
 * ERR_UNSUPPORTED for a relay without wallet
 */
export function withdraw(
  ctx: Context,
  { relay, funds, satoshis }: Parties & { readonly satoshis?: number | undefined },
  { signal }: CallOptions = {},
): Promise<Withdrawn> {
  const work = async () => {
    const network = await funds.network()
    await checkNetwork(ctx, { relay, network, signal })
    const earlier = await openWithdrawal(ctx.home, relay.key)
    const amount = satoshis === undefined ? {} : { satoshis: String(satoshis) }
    const open = earlier ?? (await begin(ctx, relay, { request: { type: 'withdraw', ...amount }, signal }))
    const paid =
      open.paid ?? (await paidFor(ctx, { relay, funds }, { open, isRepeat: earlier !== undefined, signal }))
    await bringIn({ relay, funds }, paid)
    await forgetWithdrawal(ctx.home, relay.key)
    const { txid, fee } = paid
    return { relay, network, txid, satoshis: paid.satoshis, fee, isRepeat: earlier !== undefined }
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

/** The relay's answer, on disk. */
async function paidFor(ctx: Context, parties: Parties, asking: Asking): Promise<Withdrawal> {
  const { relay } = parties
  try {
    const { open, paid } = await ask(ctx, parties, asking)
    await saveWithdrawal(ctx.home, relay, { ...open, paid })
    return paid
  } catch (error) {
    const isNo = error instanceof Refused && error.signed && !isRetryable(error)
    if (isNo) await forgetWithdrawal(ctx.home, relay.key)
    throw isNo ? error : unfinished(error)
  }
}

async function ask(
  ctx: Context,
  parties: Parties,
  { open, isRepeat, signal }: Asking,
): Promise<{ open: OpenWithdrawal; paid: Withdrawal }> {
  const { relay } = parties
  const { clock } = ctx.connect(relay)
  const { msg } = open.request
  // Later the relay does not know the request any more, but still the withdrawal that it names.
  if (isRepeat && msg.timestamp < clock.now - repeatableMs)
    return { open, paid: await askByName(parties, { open, signal }) }
  try {
    return { open, paid: await askSigned(ctx, relay, { open, signal }) }
  } catch (error) {
    if (isRepeat && (isStale(error) || isReplayed(error)))
      return { open, paid: await askByName(parties, { open, signal }) }
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
  const { timeoutMs, replyBytes } = connectionLimits
  const url = `${relay.url}/`
  const { text } = await fetchText({ url, body: request.text, timeoutMs, maxReplyBytes: replyBytes, signal })
  return ctx.connect(relay).open(text, request).reply.result
}

async function askByName(
  { relay, funds }: Parties,
  { open: { request }, signal }: Pick<Asking, 'open' | 'signal'>,
): Promise<Withdrawal> {
  const { satoshis } = request.msg.request
  const body = { id: request.hash, ...(satoshis !== undefined && { satoshis }) }
  const answer = await webPost({ relay, prover: await funds.payer() }, { path: '/withdraw', body, signal })
  const { data } = Withdrawal.safeParse('value' in answer ? answer.value : undefined)
  if (data !== undefined) return data
  throw new ClientError('ERR_UNTRUSTED', `${relay.url} does not say what it paid back`)
}

/** @throws ERR_UNTRUSTED for less than the relay says it paid */
async function bringIn({ relay, funds }: Parties, paid: Withdrawal): Promise<void> {
  const { satoshis, fee, txid, tx, derivationPrefix, derivationSuffix } = paid
  const payer = await funds.payer()
  const bytes = fromBase64(tx)
  try {
    const { subject } = parseBeef(bytes)
    const arrives = subject.transaction.outputs[0]?.satoshis
    if (subject.txid !== txid || arrives !== Number(satoshis) - Number(fee))
      throw new ClientError('ERR_UNTRUSTED', `${relay.url} pays something else than it says`)
    await payer.internalizeAction({
      tx: [...bytes],
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
    throw unfinished(error)
  }
}

const unfinished = (error: unknown): Error =>
  retold(error, `${messageOf(error)}; the same command asks again for the same withdrawal`)
