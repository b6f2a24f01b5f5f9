/**
 * Bundling makes every `const` of a module's top level a `var` (esbuild.github.io/faq/#top-level-var). V8 folds only what
 * cannot change: the views that a hypercall works in, say, cost it a load and a check each time, and so does each function that
 * it calls. This makes constant again what nothing assigns to, and functions that nothing can call before they are defined.
 */
import { forChildren, parseModule } from './syntax.mjs';

/** The source of a bundled module. Lines stay where they are, so its source map still holds. */
export function keepConst(source) {
  const program = parseModule(source);
  const assigned = new Set();
  findAssigned(program, [], assigned);
  const isFree = (pattern) => namesIn(pattern).every((name) => !assigned.has(name));
  const reached = new Reached(program);
  let kept = '';
  let done = 0;
  for (const node of program.body) {
    if (node.type === 'FunctionDeclaration') {
      if (reached.has(node.id.name) || !isFree(node.id)) continue;
      kept += `${source.slice(done, node.start)}const ${node.id.name} = ${source.slice(node.start, node.id.start)}`;
      kept += `${source.slice(node.id.end, node.end)};`;
      done = node.end;
      continue;
    }
    reached.run(node);
    if (node.type !== 'VariableDeclaration' || node.kind !== 'var') continue;
    if (!node.declarations.every(({ id, init }) => init && isFree(id))) continue;
    kept += `${source.slice(done, node.start)}const`;
    done = node.start + 'var'.length;
  }
  return kept + source.slice(done);
}

/** The names of the top level that the statements so far may have used, themselves or by what they name. */
class Reached {
  #names = new Set();
  /** By name, what declares it. */
  #declarations = new Map();

  constructor({ body }) {
    for (const node of body) {
      const patterns = node.type === 'VariableDeclaration' ? node.declarations.map(({ id }) => id) : [node.id];
      for (const name of patterns.flatMap(namesIn)) this.#declarations.set(name, node);
    }
  }

  has(name) {
    return this.#names.has(name);
  }

  /** Names of locals count as if they were of the top level, those of properties do not. */
  run(node) {
    if (node.type === 'Identifier') this.#reach(node.name);
    forChildren(node, (child) => {
      const isPropertyName = (child === node.property || child === node.key) && !node.computed;
      if (!isPropertyName) this.run(child);
    });
  }

  #reach(name) {
    if (this.#names.has(name)) return;
    this.#names.add(name);
    const declaration = this.#declarations.get(name);
    if (declaration !== undefined) this.run(declaration);
  }
}

/** Adds the names of the top level that `node` assigns to; `scopes` are the names that the functions and blocks around it declare. */
function findAssigned(node, scopes, assigned) {
  const inner = node.type === 'Program' ? undefined : namesDeclaredBy(node);
  if (inner !== undefined) scopes.push(inner);
  for (const name of targetsOf(node)) if (!scopes.some((names) => names.includes(name))) assigned.add(name);
  forChildren(node, (child) => findAssigned(child, scopes, assigned));
  if (inner !== undefined) scopes.pop();
}

/** What an assignment, `++` or a loop without a declaration of its own writes to. */
function targetsOf(node) {
  switch (node.type) {
    case 'AssignmentExpression':
    case 'ForInStatement':
    case 'ForOfStatement':
      return namesIn(node.left);
    case 'UpdateExpression':
      return namesIn(node.argument);
    default:
      return [];
  }
}

/** The names that a pattern binds or assigns to. */
function namesIn(pattern) {
  switch (pattern?.type) {
    case 'Identifier':
      return [pattern.name];
    case 'ObjectPattern':
      return pattern.properties.flatMap((property) => namesIn(property.value ?? property.argument));
    case 'ArrayPattern':
      return pattern.elements.flatMap(namesIn);
    case 'AssignmentPattern':
      return namesIn(pattern.left);
    case 'RestElement':
      return namesIn(pattern.argument);
    default:
      return [];
  }
}

const isFunction = ({ type }) => type === 'FunctionDeclaration' || type === 'FunctionExpression' || type === 'ArrowFunctionExpression';

function namesDeclaredBy(node) {
  switch (node.type) {
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression': {
      const names = [...namesIn(node.id), ...node.params.flatMap(namesIn)];
      addVariables(node.body, names);
      return names;
    }
    case 'BlockStatement':
    case 'StaticBlock':
      return node.body.flatMap(lexicalNames);
    case 'SwitchStatement':
      return node.cases.flatMap(({ consequent }) => consequent.flatMap(lexicalNames));
    case 'ForStatement':
      return lexicalNames(node.init);
    case 'ForInStatement':
    case 'ForOfStatement':
      return lexicalNames(node.left);
    case 'CatchClause':
      return namesIn(node.param);
    case 'ClassDeclaration':
    case 'ClassExpression':
      return namesIn(node.id);
    default:
      return undefined;
  }
}

/** What a statement declares for the block that it stands in. */
function lexicalNames(node) {
  if (node?.type === 'VariableDeclaration') return node.kind === 'var' ? [] : node.declarations.flatMap(({ id }) => namesIn(id));
  return node?.type === 'FunctionDeclaration' || node?.type === 'ClassDeclaration' ? namesIn(node.id) : [];
}

/** The `var`s of a function, wherever in it they stand. */
function addVariables(node, names) {
  if (isFunction(node)) return;
  if (node.type === 'VariableDeclaration' && node.kind === 'var') names.push(...node.declarations.flatMap(({ id }) => namesIn(id)));
  forChildren(node, (child) => addVariables(child, names));
}
