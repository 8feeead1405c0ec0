/**
 * Which relays may well be one (docs/protocol.md §12.9): those that share a host, a site, or a network fail together, see
 * together, and cost one operator little to double. Nothing here proves anything; it only keeps eggs out of one basket.
 */
import ipaddr from 'ipaddr.js'

export const families = ['ipv4', 'ipv6', 'name', 'onion'] as const
/** How a relay's host is written. */
export type Family = (typeof families)[number]

const hostIn = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
/** A URL parser has made every form of an IPv4 address four numbers; most hosts are names, and parsing is dear. */
const isAddress = (host: string): boolean => /^[0-9.]+$|:/.test(host) && ipaddr.isValid(host)

/** @param url of a relay address: it has a host */
export function familyOf(url: string): Family {
  const host = hostIn(new URL(url))
  if (isAddress(host)) return ipaddr.process(host).kind()
  return host.endsWith('.onion') ? 'onion' : 'name'
}

/**
 * Names of what a relay shares with its neighbours: its host, the site of that host, and the network (IPv4 /16, IPv6 /48) of
 * each of its addresses. In private networks, which only devnets and tests name, it is the port that tells relays apart.
 * @param addresses that its name was seen to lead to; a literal address is known without
 */
export function neighbourhoodsOf(url: string, addresses: readonly string[] = []): readonly string[] {
  const parsed = new URL(url)
  const [place, host] = [parsed.host, hostIn(parsed)]
  if (isAddress(host)) return [networkOf(host) ?? `host ${place}`]
  if (host.endsWith('.onion')) return [`host ${host}`]
  if (!host.includes('.')) return [`host ${place}`]
  const networks = addresses.filter(isAddress).flatMap((one) => networkOf(one) ?? [])
  return [...new Set([`host ${host}`, `site ${siteOf(host)}`, ...networks])]
}

const [ipv4Bytes, ipv6Bytes] = [2, 6]

/** Undefined for what is no address of the open internet. */
function networkOf(address: string): string | undefined {
  const found = ipaddr.process(address)
  if (found.range() !== 'unicast') return undefined
  const bytes = found.toByteArray()
  if (found.kind() === 'ipv4') return `net ${bytes.slice(0, ipv4Bytes).join('.')}.0.0/16`
  return `net ${bytes
    .slice(0, ipv6Bytes)
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('')
    .replaceAll(/(.{4})(?=.)/g, '$1:')}::/48`
}

/** Of `neighbourhoodsOf`, without what lies in another of them: a host in its site. Who shares anything, shares one of these. */
export const widestOf = (neighbourhoods: readonly string[]): readonly string[] =>
  neighbourhoods.length > 1 ? neighbourhoods.filter((name) => !name.startsWith('host ')) : neighbourhoods

/** Under which, in countries, everybody registers. Other short names are somebody's own, and his relays are one site. */
const shared = new Set(
  'ac co com edu gen gob gouv gov gv id info ltd me mil ne net nhs nom or org plc sch web'.split(' '),
)

/** What one operator registers, as far as a name tells: two labels, three under such as `co.uk`. */
function siteOf(host: string): string {
  const labels = host.split('.')
  const [top = '', second = ''] = [labels.at(-1), labels.at(-2)]
  const isShared = top.length === 2 && shared.has(second)
  return labels.slice(isShared ? -3 : -2).join('.')
}
