/** What a shop knows of one of its products. */
export interface Product {
  readonly id: string
  readonly name: string
  readonly category: string
  readonly priceCents: number
  /** EAN-13, from the range that a shop gives out itself. */
  readonly barcode: string
}

/** What is made, by whom, in which sizes, and what the smallest costs. */
interface Kind {
  readonly what: string
  readonly variants: readonly string[]
  readonly sizes: readonly string[]
  readonly fromCents: number
}
interface Category {
  readonly name: string
  readonly makers: readonly string[]
  readonly kinds: readonly Kind[]
}

const kind = (what: string, fromCents: number, variants: string, sizes: string): Kind => ({
  what,
  fromCents,
  variants: variants.split(', '),
  sizes: sizes.split(', '),
})
const category = (name: string, makers: string, ...kinds: readonly Kind[]): Category => ({
  name,
  makers: makers.split(', '),
  kinds,
})

const categories: readonly Category[] = [
  category(
    'Bakery',
    'Alder Mill, Nordkorn, Old Quay, Hearth & Son, Brick Lane',
    kind('loaf', 239, 'rye, wholemeal, sourdough, spelt, five-seed, potato', '400 g, 750 g, 1 kg'),
    kind('rolls', 149, 'poppy, sesame, plain, pumpkin seed', '4 pieces, 6 pieces'),
    kind('crispbread', 179, 'rye, sesame, rosemary', '200 g, 400 g'),
    kind('cake', 349, 'lemon, marble, almond, carrot', '350 g, 500 g'),
    kind('croissants', 199, 'butter, chocolate, almond', '2 pieces, 4 pieces'),
  ),
  category(
    'Dairy',
    'Westermarsh, Two Bells, Highmeadow, Cobble Farm, Lakeland, Morning Pail',
    kind('yoghurt', 69, 'plain, strawberry, vanilla, blueberry, apricot, lemon', '150 g, 500 g, 1 kg'),
    kind('milk', 109, 'whole, semi-skimmed, lactose-free, Jersey', '500 ml, 1 l'),
    kind('butter', 229, 'salted, unsalted, cultured', '125 g, 250 g'),
    kind('cheese', 249, 'Gouda, cheddar, Tilsit, mountain, goat, smoked', '150 g, 300 g, 500 g'),
    kind('curd', 99, 'low-fat, cream, herb', '250 g, 500 g'),
    kind('oat drink', 149, 'plain, barista, vanilla', '1 l, 6 × 1 l'),
  ),
  category(
    'Fruit and vegetables',
    'Sunny Ridge, Marsh Lane, Growers’ Yard, Orchard End, Green Acre',
    kind('apples', 199, 'Elstar, Boskoop, Braeburn, Gala', '500 g, 1 kg, 2 kg'),
    kind('potatoes', 149, 'waxy, floury, new', '1 kg, 2.5 kg, 5 kg'),
    kind('tomatoes', 179, 'cherry, vine, beef, plum', '250 g, 500 g'),
    kind('salad', 129, 'rocket, lamb’s lettuce, romaine, mixed leaf', '100 g, 150 g'),
    kind('berries', 249, 'strawberry, raspberry, blueberry, blackberry', '125 g, 250 g, 500 g'),
    kind('carrots', 89, 'bunched, washed, purple', '500 g, 1 kg'),
  ),
  category(
    'Drinks',
    'Kettle & Spring, Brightwell, Fernhill, Tidewater, Old Pump',
    kind('mineral water', 49, 'still, sparkling, gentle', '500 ml, 1 l, 6 × 1 l'),
    kind('juice', 159, 'apple, orange, grape, cherry, carrot', '330 ml, 1 l'),
    kind('lemonade', 99, 'lemon, rhubarb, elderflower, ginger', '330 ml, 750 ml'),
    kind('beer', 109, 'pale, wheat, stout, alcohol-free', '330 ml, 500 ml, 6 × 330 ml'),
    kind('coffee', 499, 'house blend, espresso, decaf, filter', '250 g, 500 g, 1 kg'),
    kind('tea', 229, 'green, Assam, peppermint, camomile, Earl Grey', '20 bags, 50 bags, 100 g'),
  ),
  category(
    'Larder',
    'Alder Mill, Casa Lume, Field & Jar, Harbour Foods, Long Shelf',
    kind('pasta', 99, 'penne, spaghetti, fusilli, linguine, farfalle', '500 g, 1 kg'),
    kind('rice', 189, 'basmati, risotto, wholegrain, jasmine', '500 g, 1 kg, 5 kg'),
    kind('flour', 89, 'wheat, rye, spelt, buckwheat', '1 kg, 2.5 kg'),
    kind('jam', 219, 'strawberry, plum, apricot, sea-buckthorn, cherry', '225 g, 340 g'),
    kind('oil', 349, 'olive, rapeseed, sunflower, walnut', '250 ml, 500 ml, 1 l'),
    kind('muesli', 279, 'berry, nut, chocolate, plain', '500 g, 1 kg'),
    kind('soup', 189, 'lentil, tomato, pea, pumpkin, fish', '400 ml, 800 ml'),
  ),
  category(
    'Frozen',
    'Icehouse, Polar Cove, Winterfield, Snowdrop, Nine Below',
    kind('pizza', 269, 'margherita, salami, spinach, mushroom', '320 g, 2 × 320 g'),
    kind('vegetables', 179, 'pea, spinach, stir-fry, broccoli, bean', '450 g, 1 kg'),
    kind('ice cream', 299, 'vanilla, chocolate, pistachio, strawberry, hazelnut', '120 ml, 500 ml, 1 l'),
    kind('fish', 399, 'cod, salmon, plaice, pollock', '250 g, 500 g'),
  ),
  category(
    'Household',
    'Brightside, Linden, Clearwater, Tidy House, Plainly',
    kind('washing powder', 549, 'colour, white, sensitive', '1.2 kg, 2.4 kg'),
    kind('dishwasher tablets', 399, 'classic, all-in-one, eco', '30 pieces, 60 pieces'),
    kind('paper towels', 249, 'plain, printed, recycled', '2 rolls, 4 rolls'),
    kind('cleaner', 199, 'glass, bathroom, kitchen, floor', '500 ml, 1 l'),
    kind('bin liners', 149, '20 l, 35 l, 60 l', '20 pieces, 40 pieces'),
    kind('candles', 299, 'white, beeswax, tea light', '4 pieces, 10 pieces'),
  ),
  category(
    'Personal care',
    'Linden, Salt & Sage, Morgen, Birch, Plainly',
    kind('soap', 149, 'olive, lavender, oat, charcoal', '100 g, 3 × 100 g'),
    kind('shampoo', 279, 'camomile, nettle, citrus, sensitive', '250 ml, 400 ml'),
    kind('toothpaste', 129, 'mint, herbal, whitening, children’s', '75 ml, 2 × 75 ml'),
    kind('hand cream', 229, 'almond, rose, unscented', '50 ml, 100 ml'),
    kind('sun lotion', 699, 'SPF 20, SPF 30, SPF 50', '100 ml, 200 ml'),
  ),
  category(
    'Stationery',
    'Inkwell, Papercourt, Marginal, Blotter & Co, Fold',
    kind('notebook', 249, 'ruled, squared, plain, dotted', 'A6, A5, A4'),
    kind('ballpoint pens', 179, 'blue, black, red, four-colour', '1 piece, 3 pieces, 10 pieces'),
    kind('pencils', 129, 'HB, 2B, 4H, coloured', '3 pieces, 12 pieces'),
    kind('envelopes', 199, 'white, windowed, padded', '25 pieces, 100 pieces'),
    kind('sticky notes', 159, 'yellow, pastel, neon', '100 sheets, 400 sheets'),
  ),
  category(
    'Kitchen',
    'Ironhouse, Copper Lane, Holm, Stovetop, Larch',
    kind('saucepan', 1990, 'steel, cast-iron, enamel', '16 cm, 20 cm, 24 cm'),
    kind('kettle', 2990, 'enamel, steel, glass', '1 l, 1.7 l'),
    kind('chopping board', 1290, 'beech, oak, bamboo', '25 cm, 40 cm'),
    kind('mug', 590, 'white, blue, speckled, tall', '250 ml, 400 ml'),
    kind('storage jar', 390, 'glass, tin, stoneware', '500 ml, 1 l, 2 l'),
  ),
]

/** A 32-bit hash of a text (FNV-1a). */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193)
  return value >>> 0
}

/** The thirteenth digit of an EAN-13, which makes the weighted sum a multiple of ten. */
function withCheckDigit(twelve: string): string {
  const sum = [...twelve].reduce((total, digit, at) => total + Number(digit) * (at % 2 === 0 ? 1 : 3), 0)
  return twelve + ((10 - (sum % 10)) % 10)
}

/** Prices end as prices do. A larger size costs more, and less for what is in it. */
function price({ fromCents }: Kind, size: number, name: string): number {
  const spread = 0.85 + (hash(`price of ${name}`) % 1_000) / 2_000
  const cents = fromCents * spread * (1 + size * 0.8)
  return Math.max(29, Math.round(cents / 10) * 10 - (hash(name) % 3 === 0 ? 5 : 1))
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

function everything(): Omit<Product, 'id' | 'barcode'>[] {
  return categories.flatMap(({ name: category, makers, kinds }) =>
    kinds.flatMap((one) =>
      makers.flatMap((maker) =>
        one.variants.flatMap((variant) =>
          one.sizes.map((size, at) => {
            const name = `${maker} ${variant} ${one.what}, ${size}`
            return { name: capital(name), category, priceCents: price(one, at, name) }
          }),
        ),
      ),
    ),
  )
}

/**
 * The same believable products on every machine, in the order of their ids: `count` of all there are, a few of every
 * category even when `count` is small.
 */
export function makeProducts(count = Infinity): Product[] {
  const all = everything().sort((a, b) => hash(a.name) - hash(b.name) || (a.name < b.name ? -1 : 1))
  return all.slice(0, count).map((product, at) => {
    const id = `${10_000 + at}`
    return { id, ...product, barcode: withCheckDigit(`20${id.padStart(10, '0')}`) }
  })
}
