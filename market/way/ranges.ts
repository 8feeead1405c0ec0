/** Which network addresses anybody may send us to, and which lie inside of networks that are not open to him (docs/protocol.md §8.1). */
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Of clouds, in the midst of public addresses: who asks there is believed to be the machine itself. */
const metadata = new Set(['168.63.129.16'])

/**
 * True for an address of the open internet. Loopback, private, shared (CGNAT), link-local, metadata, multicast and reserved
 * ranges are not, nor is what tunnels lead to; an IPv4 address inside of an IPv6 one is judged itself.
 * @param address an IPv4 or IPv6 address in any notation
 */
export function isPublic(address: string): boolean {
  const found = ipaddr.process(address)
  if (found.kind() === 'ipv4') return found.range() === 'unicast' && !metadata.has(found.toString())
  const bytes = found.toByteArray()
  if (nat64.every((byte, at) => bytes[at] === byte)) return isPublic(bytes.slice(-4).join('.'))
  // All that is given out as global lies in 2000::/3; the library calls unicast whatever it has no other name for.
  return found.range() === 'unicast' && bytes[0]! >> 5 === 0b001
}
const nat64 = [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]

/** True for a host that is this machine without anybody being asked: an address of it, or the name `localhost`. */
export const isThisMachine = (host: string): boolean =>
  isIP(host) === 0 ? /^(?:[^.]+\.)*localhost\.?$/i.test(host) : ipaddr.process(host).range() === 'loopback'

/** Names that only the Tor network knows: to ask a resolver for one tells it who is to be visited. */
export const isOnion = (host: string): boolean => /\.onion\.?$/i.test(host)
