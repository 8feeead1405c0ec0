/** One try to bring a message to a host: the call, the payment that the host asks for, and what its answer means. */
import { propagationBody } from '../../contracts/overlay/propagation.ts'
import type { WebPayment } from '../../contracts/payment.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { saidBy } from '../../market/channels/channel.ts'
import { codes, MarketError } from '../../market/errors.ts'
import type { Departure } from '../store/departures.ts'
import type { HostAnswer, HostCaller } from './caller.ts'
import type { Host } from '../../contracts/overlay/host.ts'
import type { HostFees } from './host-fees.ts'

/** Delivered, refused for good, or to be tried again. */
export type Said =
  | { readonly status: 'delivered' }
  | (Why & { readonly status: 'refused' })
  /** `because`: of what it would be the same now, any message to this host or this one. `reason`: for our operator. */
  | (Why & { readonly status: 'waiting'; readonly because: 'host' | 'message'; readonly reason?: string })

interface Why {
  readonly code: string
  readonly description?: string
}

const route = '/propagateMessage'

export interface BringingOptions {
  readonly keys: KeyWallet
  readonly caller: Pick<HostCaller, 'post' | 'isThere'>
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
    const post = async (payment?: WebPayment): Promise<Heard> => {
      const heard = await caller.post(host, route, body, { signal, payment }).then(saidOf, unheard)
      const { asked, isMet, ...said } = heard
      // Who proves his key, and never answers to this, answers to others: they must not wait for it.
      const isThis = isMet && (await caller.isThere(host, signal))
      return { ...said, ...(isThis && { because: 'message' }), ...(asked && { asked }) } as Heard
    }
    const payer = budget > 0 ? fees : undefined
    // A host that nobody pays is not kept waiting by a wallet; one that was paid asks again, and is paid the same.
    const paid = await payer?.paid({ place, host }).catch(() => undefined)
    const { asked, ...said } = await post(paid)
    if (asked === undefined || paid !== undefined) return said
    if (payer === undefined) return tooDear(asked)
    try {
      const { asked: _, ...answer } = await post(await this.#pay(payer, { departure, host, ...asked }))
      return answer
    } catch (error) {
      return unpaid(error, asked)
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

/** `asked`: it would be taken for so much. `isMet`: the host proved its key before it gave no answer. */
type Heard = Said & { readonly asked?: Asked; readonly isMet?: boolean }

/** What a host has signed says that it is there. */
function saidOf({ status, body, asked }: HostAnswer): Heard {
  if (status === 200) return { status: 'delivered' }
  const why = whyOf(status, body)
  if (status === 402) return { status: 'refused', ...why, ...(asked && { asked }) }
  const isFailing = status >= 500 || status === 401 || status === 429
  const isLater = isFailing || (status === 409 && why.code === 'ERR_PAYMENT_IN_PROGRESS')
  return isLater ? { status: 'waiting', because: 'message', ...why } : { status: 'refused', ...why }
}

/** A code as codes are, and a short sentence: strangers have said it. */
function whyOf(status: number, { code, description }: HostAnswer['body']): Why {
  const isCode = typeof code === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(code)
  const named = isCode ? code : status === 402 ? 'ERR_PAYMENT_REQUIRED' : `ERR_HTTP_${status}`
  return { code: named, ...(typeof description === 'string' && { description: saidBy(description) }) }
}

/** @throws what is no refusal */
function unheard(error: unknown): Heard {
  const { code, message, extras } = expected(error)
  if (!codes[code].retryable) return { status: 'refused', code, description: saidBy(message) }
  // Why that is tells of our network.
  return {
    status: 'waiting',
    because: 'host',
    code,
    description: 'the host cannot be reached now',
    reason: message,
    isMet: extras.isMet === true,
  }
}

/** @throws what is no refusal */
function unpaid(error: unknown, asked: Asked): Said {
  const { code, message } = expected(error)
  if (code === 'ERR_PAYMENT_REQUIRED') return tooDear(asked)
  return { status: 'waiting', because: 'message', code, reason: message }
}

/** How our purse stands is nobody else's business. */
const tooDear = ({ satoshis }: Asked): Said => ({
  ...{ status: 'refused', code: 'ERR_PAYMENT_REQUIRED' },
  description: `the host asks for ${satoshis} satoshi, which with the fee of the network is more than may be spent on this message`,
})

function expected(error: unknown): MarketError {
  if (error instanceof MarketError) return error
  throw error
}
