/** One try to bring a message to a host: the call, the payment that the host asks for, and what its answer means. */
import { propagationBody } from '../../contracts/overlay/propagation.ts'
import type { WebPayment } from '../../contracts/payment.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { saidBy } from '../../market/channels/channel.ts'
import { codes, MarketError } from '../../market/errors.ts'
import type { Departure } from '../store/departures.ts'
import type { HostAnswer, HostCaller } from './caller.ts'
import type { Host } from './host.ts'
import type { HostFees } from './host-fees.ts'

/** Delivered, refused for good, or to be tried again. */
export type Said =
  | { readonly status: 'delivered' }
  | (Why & { readonly status: 'refused' })
  /** `because`: of what it would be the same now. `reason`: for our operator. */
  | (Why & { readonly status: 'waiting'; readonly because: Cause; readonly reason?: string })

/** Any message to this host, this message, or one of the two. */
type Cause = 'host' | 'message' | 'either'

interface Why {
  readonly code: string
  readonly description?: string
}

const route = '/propagateMessage'

export interface BringingOptions {
  readonly keys: KeyWallet
  readonly caller: Pick<HostCaller, 'post'>
  /** Undefined where no host is paid. */
  readonly fees: HostFees | undefined
}

export class Bringing {
  readonly #options: BringingOptions
  /** One payment at a time: hosts of one message have one budget. */
  #paying: Promise<unknown> = Promise.resolve()

  constructor(options: BringingOptions) {
    this.#options = options
  }

  /** May be repeated: a host takes a message once, and is paid once. */
  async bring(departure: Departure, host: Host, signal: AbortSignal): Promise<Said> {
    const { keys, caller, fees } = this.#options
    const { place, budget } = departure
    const body = propagationBody(keys, departure, departure.message)
    const post = (payment?: WebPayment) =>
      caller.post(host, route, body, { signal, ...(payment && { payment }) }).then(saidOf, unheard)
    const payer = budget > 0 ? fees : undefined
    try {
      // A host that nobody pays is not kept waiting by a wallet; one that was paid asks again, and is paid the same.
      const paid = await payer?.paid({ place, host }).catch(() => undefined)
      const said = await post(paid)
      if (payer === undefined || paid !== undefined || said.asked === undefined) return said
      return await post(await this.#pay(payer, { departure, host, ...said.asked }))
    } catch (error) {
      return unpaid(error)
    }
  }

  #pay(
    fees: HostFees,
    { departure: { place, budget }, ...asked }: { departure: Departure; host: Host } & Asked,
  ): Promise<WebPayment> {
    const paid = this.#paying.then(async () =>
      fees.pay({ place, ...asked, budget: budget - (await fees.spent(place)) }),
    )
    this.#paying = paid.catch(() => undefined) // whoever asked is told
    return paid
  }
}

type Asked = NonNullable<HostAnswer['asked']>

/** `asked`: it would be taken for so much. */
function saidOf({ status, body, asked }: HostAnswer): Said & { readonly asked?: Asked } {
  if (status === 200) return { status: 'delivered' }
  const why = whyOf(status, body)
  if (status === 402) return { status: 'refused', ...why, ...(asked && { asked }) }
  const isFailing = status >= 500 || status === 401 || why.code === 'ERR_LIMIT'
  if (isFailing) return { status: 'waiting', because: 'either', ...why }
  const isLater = status === 429 || (status === 409 && why.code === 'ERR_PAYMENT_IN_PROGRESS')
  return isLater ? { status: 'waiting', because: 'message', ...why } : { status: 'refused', ...why }
}

/** A code as codes are, and a short sentence: strangers have said it. */
function whyOf(status: number, { code, description }: HostAnswer['body']): Why {
  const isCode = typeof code === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(code)
  const named = isCode ? code : status === 402 ? 'ERR_PAYMENT_REQUIRED' : `ERR_HTTP_${status}`
  return { code: named, ...(typeof description === 'string' && { description: saidBy(description) }) }
}

/** @throws what is no refusal */
function unheard(error: unknown): Said & { readonly asked?: undefined } {
  const { code, message } = expected(error)
  if (!codes[code].retryable) return { status: 'refused', code, description: saidBy(message) }
  // Why that is tells of our network.
  return {
    status: 'waiting',
    because: 'host',
    code,
    description: 'the host cannot be reached now',
    reason: message,
  }
}

/** @throws what is no refusal */
function unpaid(error: unknown): Said {
  const { code, message } = expected(error)
  // How our purse stands is nobody else's business.
  return code === 'ERR_PAYMENT_REQUIRED'
    ? { status: 'refused', code, description: 'the host asks for more than was paid for it' }
    : { status: 'waiting', because: 'message', code, reason: message }
}

function expected(error: unknown): MarketError {
  if (error instanceof MarketError) return error
  throw error
}
