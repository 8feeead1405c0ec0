/** The figures of message boxes (docs/metrics.md). */
import type { Figure } from './figures.ts'

export const figuresOfBoxes: readonly Figure[] = [
  {
    type: 'counter',
    name: 'relay_box_requests_total',
    help: 'Requests of message boxes over HTTP, answered',
    labels: ['route', 'code'],
    at: ({ boxTraffic }) =>
      (boxTraffic?.answered ?? []).map(({ route, code, count }) => ({
        labels: { route, code },
        value: count,
      })),
  },
  {
    type: 'gauge',
    name: 'relay_box_sockets',
    help: 'Live clients of message boxes',
    at: ({ boxLive }) => boxLive?.counts.sockets ?? 0,
  },
  {
    type: 'counter',
    name: 'relay_box_live_sent_total',
    help: 'Messages for boxes that came over sockets',
    labels: ['outcome'],
    at: ({ boxLive }) => [
      { labels: { outcome: 'stored' }, value: boxLive?.counts.sent ?? 0 },
      { labels: { outcome: 'refused' }, value: boxLive?.counts.refused ?? 0 },
    ],
  },
  {
    type: 'counter',
    name: 'relay_box_live_delivered_total',
    help: 'Messages pushed to live clients of message boxes',
    at: ({ boxLive }) => boxLive?.counts.delivered ?? 0,
  },
  {
    type: 'counter',
    name: 'relay_box_notices_total',
    help: 'Notices of messages for devices (--push-webhook)',
    labels: ['outcome'],
    at: ({ boxNotices }) =>
      Object.entries(boxNotices?.counts ?? { sent: 0, failed: 0, dropped: 0 }).map(([outcome, value]) => ({
        labels: { outcome },
        value,
      })),
  },
  {
    type: 'gauge',
    name: 'relay_phip_waiting',
    help: 'Messages that hosts are still to get, once for each host',
    at: ({ phip }) => phip?.counts().waiting ?? 0,
  },
  {
    type: 'counter',
    name: 'relay_phip_brought_total',
    help: 'Messages brought to other hosts, by what became of them there',
    labels: ['outcome'],
    at: ({ phip }) => {
      const { delivered = 0, refused = 0, givenUp = 0, retries = 0 } = phip?.counts() ?? {}
      const outcomes = { delivered, refused, 'given up': givenUp, 'tried again': retries }
      return Object.entries(outcomes).map(([outcome, value]) => ({ labels: { outcome }, value }))
    },
  },
]
