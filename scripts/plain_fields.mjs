/**
 * V8 folds a field that was written once, when it began to be, and asks no object in a field for its shape if all that were there
 * had that one. What remains of a declaration in TypeScript, `field;`, spoils both, as it writes undefined before the constructor
 * writes; and names with a # take more bytecode, of which only so much goes into one function. This takes away declarations of what
 * the constructor assigns in any case, and makes private names plain ones that nobody else has.
 */
import { forChildren, parseModule } from './syntax.mjs';

/** The source of a bundled module. Lines stay where they are, so its source map still holds. */
export function plainFields(source) {
  const edits = [];
  new Classes(edits).visit(parseModule(source));
  let plain = '';
  let done = 0;
  for (const { start, end, text } of edits.sort((a, b) => a.start - b.start)) {
    plain += source.slice(done, start) + text;
    done = end;
  }
  return plain + source.slice(done);
}

class Classes {
  /** Of the classes around what is visited, the innermost last: plain names by private ones. */
  #around = [];
  #count = 0;
  #edits;

  constructor(edits) {
    this.#edits = edits;
  }

  visit(node) {
    if (node.type === 'ClassBody') return this.#visitClass(node);
    if (node.type === 'PrivateIdentifier') return this.#replace(node, this.#plainName(node));
    if (node.type === 'BinaryExpression' && node.left.type === 'PrivateIdentifier') {
      this.#replace(node.left, `'${this.#plainName(node.left)}'`);
      return this.visit(node.right);
    }
    forChildren(node, (child) => this.visit(child));
  }

  #visitClass(body) {
    const privates = body.body.map(({ key }) => key).filter((key) => key?.type === 'PrivateIdentifier');
    const number = this.#count++;
    this.#around.push(new Map(privates.map(({ name }) => [name, `${name}$${number}`])));
    const assigned = assignedByConstructor(body);
    for (const member of body.body) {
      const isBare = member.type === 'PropertyDefinition' && !member.static && !member.computed && member.value === null;
      if (isBare && assigned.has(nameOf(member.key))) this.#replace(member, '');
      else this.visit(member);
    }
    this.#around.pop();
  }

  #plainName({ name }) {
    return this.#around.findLast((names) => names.has(name)).get(name);
  }

  #replace({ start, end }, text) {
    this.#edits.push({ start, end, text });
  }
}

const nameOf = ({ type, name }) => (type === 'PrivateIdentifier' ? `#${name}` : name);

/** The fields that statements of the constructor, not those within others, give a value by `this.field = ...`. */
function assignedByConstructor({ body }) {
  const names = new Set();
  const statements = body.find(({ kind }) => kind === 'constructor')?.value.body.body ?? [];
  for (const { expression } of statements) {
    for (let each = expression; each?.type === 'AssignmentExpression' && each.operator === '='; each = each.right) {
      const { object, property, computed } = each.left;
      if (object?.type === 'ThisExpression' && !computed) names.add(nameOf(property));
    }
  }
  return names;
}
