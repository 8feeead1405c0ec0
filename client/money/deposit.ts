/**
 * Paying into the purse `credit` of a relay (docs/protocol.md §7.6). The payment is signed and on disk here before anybody
 * sees it: the relay is the first to send it. So a lost answer, a crash or a time out is mended by presenting the same payment
 * again, and what a relay refuses without sending it is taken back.
 */
import type { Network } from '../../contracts/chain/chain.ts'
import { Deposited } from '../../contracts/payment.ts'
import type { RelayAddress } from '../../market/address.ts'
import { type Code, MarketError } from '../../market/errors.ts'
import type { Context } from '../context.ts'
import { ClientError, codeOf, messageOf, Refused, retold } from '../errors.ts'
import { forgetDeposit, openDeposit, type OpenDeposit } from '../home/payments.ts'
import type { CallOptions } from '../wire/connection.ts'
import { checkCost, dropDraft, paymentOf, sign, takeBack } from './deposit-draft.ts'
import type { Parties, Payer } from './payer.ts'
import { webPost } from './web-session.ts'

/** What the user is asked to agree to. The fee of the network comes on top. */
export interface DepositPlan {
  readonly relay: RelayAddress
  readonly satoshis: number
  readonly network: Network
  /** In the purse `credit` now, in satoshi. */
  readonly before: string
}

export interface DepositOptions extends CallOptions {
  /** The most it may cost in satoshi, with the fee of the network. */
  readonly maxCost?: number | undefined
  /** Nothing is spent unless it says yes; without it, what was called for is agreed to. */
  readonly agree?: ((plan: DepositPlan) => Promise<boolean>) | undefined
}

export interface Deposit {
  readonly relay: RelayAddress
  readonly network: Network
  readonly txid: string
  readonly satoshis: number
  /** Null where a connected wallet does not tell. */
  readonly fee: number | null
  /** In the purse `credit` now, in satoshi, and … */
  readonly available: string
  /** … of this payment, what counts when it is in a block. */
  readonly pending: string
  /** It was made earlier, and its answer was lost. */
  readonly isRepeat: boolean
  /** What `available` became when the backup of the coins was placed there, which is paid for like everything. */
  readonly afterBackup?: string
}

/**
 * Pays, or finishes what an earlier call paid: while a payment to this relay is unconfirmed no other is made. Undefined where
 * the user did not agree, or `satoshis` is undefined and nothing is unconfirmed.
 * @throws ERR_COST for a relay that asks for something else, and above `maxCost`; ERR_UNSUPPORTED for one that takes no
 * payments; Refused; ERR_UNREACHABLE; ERR_INSUFFICIENT_FUNDS. What is not said to be taken back is kept, and presented again
 */
export async function deposit(
  ctx: Context,
  { satoshis, ...parties }: Parties & { readonly satoshis: number | undefined },
  options: DepositOptions = {},
): Promise<Deposit | undefined> {
  const { key } = parties.relay
  const { signal } = options
  const finish = async () => {
    const open = await settleDraft(ctx, parties)
    return open === undefined ? undefined : present(ctx, parties, { open, isRepeat: true, signal })
  }
  if (satoshis === undefined) {
    if ((await openDeposit(ctx.home, key)) === undefined) return undefined
    return ctx.home.lock(lockOf(key), finish, { signal, waitMs: othersMs })
  }
  const earlier = await ctx.home.lock(lockOf(key), finish, { signal })
  if (earlier !== undefined) return earlier
  const order = { ...options, satoshis }
  // Without the lock: nobody waits for an answer that a user gives elsewhere.
  if (!(await isAgreed(ctx, parties, order))) return undefined
  const work = async () => (await finish()) ?? pay(ctx, parties, order)
  return ctx.home.lock(lockOf(key), work, { signal })
}

export interface Cancelled {
  readonly relay: RelayAddress
  readonly txid: string
  readonly satoshis: number
}

/** Takes an unconfirmed payment back. @throws ERR_NOT_FOUND where there is none; ERR_CONFLICT when the network has it */
export function cancelDeposit(
  ctx: Context,
  { relay, funds }: Parties,
  { signal }: CallOptions = {},
): Promise<Cancelled> {
  const work = async () => {
    const open = await settleDraft(ctx, { relay, funds })
    if (open === undefined)
      throw new MarketError('ERR_NOT_FOUND', `no payment to ${relay.url} waits to be confirmed`)
    await takeBack(ctx, { relay, payer: await funds.payer(), open })
    return { relay, txid: open.signed!.txid, satoshis: open.satoshis } // drafts are settled
  }
  return ctx.home.lock(lockOf(relay.key), work, { signal })
}

/** What an earlier call paid is not waited for while another process, maybe its user, is at it. */
const othersMs = 1000

const lockOf = (relay: string): string => `deposit-${relay}`

type Order = DepositOptions & { readonly satoshis: number }

/** @throws what keeps it from being paid, as far as that is known before */
async function isAgreed(
  ctx: Context,
  { relay, funds }: Parties,
  { satoshis, maxCost, agree, signal }: Order,
): Promise<boolean> {
  const network = await funds.network()
  await checkNetwork(ctx, { relay, network, signal })
  checkCost(satoshis, maxCost)
  const before = await creditAt(ctx, relay, { signal })
  return agree === undefined || agree({ relay, satoshis, network, before })
}

async function pay(
  ctx: Context,
  { relay, funds }: Parties,
  { satoshis, maxCost, signal }: Order,
): Promise<Deposit> {
  const payer = await funds.payer()
  const answer = await webPost(
    { relay, prover: payer, dialer: ctx.dialer },
    { path: '/deposit', body: { satoshis }, signal },
  )
  if (!('asked' in answer)) throw new ClientError('ERR_UNTRUSTED', `${relay.url} takes a deposit unpaid`)
  const { asked } = answer
  if (asked.satoshis !== satoshis)
    throw new ClientError(
      'ERR_COST',
      `${relay.url} asks for ${asked.satoshis} satoshi instead of ${satoshis}: nothing was paid`,
    )
  const open = await sign(ctx, { relay, payer, asked, maxCost })
  return present(ctx, { relay, funds }, { open, isRepeat: false, signal })
}

/** @throws ERR_UNSUPPORTED for a relay without money; ERR_USAGE when its coins are others than ours */
export async function checkNetwork(
  ctx: Context,
  { relay, network, signal }: { relay: RelayAddress; network: Network; signal: AbortSignal | undefined },
): Promise<void> {
  const info = await ctx.connect(relay).info(signal)
  if (info.network === null)
    throw new ClientError('ERR_UNSUPPORTED', `${relay.url} takes no payments: it has no wallet and no chain`)
  // A connected wallet calls everything without worth `test`.
  const ours = network === 'test' && info.network !== 'main' ? info.network : network
  if (info.network !== ours)
    throw new ClientError(
      'ERR_USAGE',
      `${relay.url} is paid on ${info.network}, and these coins are on ${network}`,
    )
}

/** Available in the purse `credit`, in satoshi. */
export async function creditAt(ctx: Context, relay: RelayAddress, options: CallOptions): Promise<string> {
  const { reply } = await ctx.connect(relay).call({ type: 'account', limit: 1 }, options)
  return reply.result.purses.find(({ purse }) => purse === 'credit')?.available ?? '0'
}

/** What was signed and not kept was seen by nobody: a crash came between. */
async function settleDraft(ctx: Context, { relay, funds }: Parties): Promise<OpenDeposit | undefined> {
  const open = await openDeposit(ctx.home, relay.key)
  if (open === undefined || open.signed !== undefined) return open
  await dropDraft(ctx, { relay, payer: await funds.payer(), draft: open })
  return undefined
}

async function present(
  ctx: Context,
  { relay, funds }: Parties,
  { open, isRepeat, signal }: { open: OpenDeposit; isRepeat: boolean; signal: AbortSignal | undefined },
): Promise<Deposit> {
  const { satoshis, signed } = open
  const { txid, fee } = signed! // drafts are settled before
  try {
    const [payer, network] = [await funds.payer(), await funds.network()]
    const request = { path: '/deposit', body: { satoshis }, payment: paymentOf(open), signal }
    const answer = await webPost({ relay, prover: payer, dialer: ctx.dialer }, request)
    if ('asked' in answer)
      throw new ClientError('ERR_UNTRUSTED', `${relay.url} was given a payment and asks for another`)
    const { available, pending } = creditIn(relay, open, answer.value)
    // Where this fails, the wallet learns it from the chain.
    await treatAsSent(payer, txid)
    await forgetDeposit(ctx.home, relay.key)
    return { relay, network, txid, satoshis, fee, available, pending, isRepeat }
  } catch (error) {
    throw await explained(ctx, { relay, funds }, { open, error })
  }
}

/** Whether the wallet has sent it, or will, from here on. */
const treatAsSent = (payer: Payer, txid: string): Promise<boolean> =>
  payer.createAction({ description: 'deposit at a relay', options: { sendWith: [txid] } }).then(
    ({ sendWithResults = [] }) => sendWithResults.some((one) => one.txid === txid && one.status !== 'failed'),
    () => false,
  )

function creditIn(relay: RelayAddress, { satoshis, signed }: OpenDeposit, value: unknown): Deposited {
  const { data } = Deposited.safeParse(value)
  if (data?.txid === signed?.txid && data?.satoshis === String(satoshis)) return data!
  throw new ClientError('ERR_UNTRUSTED', `${relay.url} does not confirm the payment that it was given`)
}

/** Those after which the same payment will not be taken. */
const final: readonly Code[] = [
  'ERR_MALFORMED_PAYMENT',
  'ERR_INVALID_DERIVATION_PREFIX',
  'ERR_INSUFFICIENT_PAYMENT',
  'ERR_TRANSACTION_REFUSED',
  'ERR_PAYMENT_CONFLICT',
]

/** With where the money is; what will not be taken and was not sent is taken back. */
async function explained(
  ctx: Context,
  { relay, funds }: Parties,
  { open, error }: { open: OpenDeposit; error: unknown },
): Promise<Error> {
  const { txid } = open.signed! // it was presented
  const again = `relay deposit ${relay.url} presents it again, and with --cancel it is taken back unless it was sent`
  const kept = `the payment ${txid} of ${open.satoshis} satoshi is kept: ${again}`
  const what = messageOf(error)
  if (!(error instanceof Refused)) return retold(error, `${what}; ${kept}`)
  const { code } = error
  const { broadcast } = error.extras
  // Of one that was never sent there is nothing in any credit, whatever the relay says.
  const isTaken = code === 'ERR_PAYMENT_REPLAYED' && broadcast === true
  if (isTaken && (await treatAsSent(await funds.payer(), txid))) {
    await forgetDeposit(ctx.home, relay.key)
    return retold(error, `${what}: the payment ${txid} is in your credit there already`)
  }
  if (!final.includes(code) || (broadcast === true && code !== 'ERR_PAYMENT_CONFLICT')) {
    const sent =
      typeof broadcast === 'boolean' ? `the relay ${broadcast ? 'sent' : 'did not send'} it, and ` : ''
    return retold(error, `${what}; ${sent}${kept}`)
  }
  try {
    await takeBack(ctx, { relay, payer: await funds.payer(), open })
    return retold(error, `${what}; the payment ${txid} was not sent, and its coins are yours again`)
  } catch (failure) {
    return retold(error, `${what}; ${kept} (${codeOf(failure)})`)
  }
}
