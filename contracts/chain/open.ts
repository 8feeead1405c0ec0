/** Which chain: the option `--chain` of both programs, in one form. */
import { MarketError } from '../../market/errors.ts'
import { ArcChain } from './arc.ts'
import { type Chain, Network } from './chain.ts'
import type { HeaderSource } from './header-source.ts'
import { BlockHeaders } from './headers-service.ts'
import { type Address, type AgentOf, type HttpOptions, parseAddress } from './http.ts'
import { checkedChain } from './checked.ts'
import { checkNetwork } from './networks.ts'
import { NodeChain } from './node.ts'
import { WhatsOnChain } from './whats-on-chain.ts'

/** Where a devnet is, when nothing else is said. */
export const devnetUrl = 'http://127.0.0.1:8421'

export interface ChainChoice {
  readonly kind: 'devnet' | 'node' | 'arc'
  readonly address: Address
}

export interface ChainOptions {
  /** devnet, devnet:URL, node:URL or arc:URL; passwords and API keys in the place of a URL for those. */
  readonly chain: string
  /** A name of `Network`: main unless said, and devnet for devnets. */
  readonly network?: string | undefined
  /** For arc: URL of a Block Headers Service, or whatsonchain:URL of a service with that API. */
  readonly headers?: string | undefined
  readonly timeoutMs?: number | undefined
  readonly agentOf?: AgentOf | undefined
}

/** @throws ERR_MALFORMED, without repeating the text: it may hold a password */
export function parseChain(text: string): ChainChoice {
  if (text === 'devnet') return { kind: 'devnet', address: parseAddress(devnetUrl) }
  const match = /^(devnet|node|arc):(.+)$/s.exec(text)
  if (match === null) throw malformed('a chain is devnet, devnet:URL, node:URL or arc:URL')
  return { kind: match[1] as ChainChoice['kind'], address: parseAddress(match[2]!) } // by the pattern
}

/**
 * A chain that has answered, and is of that network.
 * @throws ERR_MALFORMED for options that do not fit together; ERR_CONFLICT when it is another network's;
 * ERR_CHAIN_UNAVAILABLE
 */
export async function openChain(options: ChainOptions): Promise<Chain> {
  const chain = makeChain(options)
  try {
    await checkNetwork(chain, chain)
    return chain
  } catch (error) {
    await chain.close()
    throw error
  }
}

/**
 * The same without asking it yet: the network is checked before the first question, whenever that is answered.
 * @throws ERR_MALFORMED
 */
export const chainForLater = (options: ChainOptions): Chain => checkedChain(makeChain(options))

function makeChain({ chain, network: name, headers, timeoutMs, agentOf }: ChainOptions): Chain {
  const { kind, address } = parseChain(chain)
  const network = networkOf(kind, name)
  if (headers !== undefined && kind !== 'arc') throw malformed('--headers is for --chain arc:URL')
  const http = { timeoutMs, agentOf }
  return kind === 'arc'
    ? new ArcChain(address, { network, headers: headersOf(headers, http), ...http })
    : new NodeChain(address, network, http)
}

function networkOf(kind: ChainChoice['kind'], text: string | undefined): Network {
  const named = Network.safeParse(text ?? (kind === 'devnet' ? 'devnet' : 'main'))
  if (!named.success) throw malformed(`a network is ${Network.options.join(', ')}`)
  const network = named.data
  if (kind === 'devnet' && network !== 'devnet')
    throw malformed(`a devnet has no money of the network ${network}`)
  if (kind === 'arc' && network === 'devnet') throw malformed('ARC does not serve devnets')
  return network
}

function headersOf(text: string | undefined, http: HttpOptions): HeaderSource {
  if (text === undefined)
    throw malformed('--chain arc:URL needs --headers URL, a service that knows the headers')
  const named = /^whatsonchain:(.+)$/s.exec(text)?.[1]
  return named === undefined
    ? new BlockHeaders(parseAddress(text), http)
    : new WhatsOnChain(parseAddress(named), http)
}

const malformed = (sentence: string): MarketError => new MarketError('ERR_MALFORMED', sentence)
