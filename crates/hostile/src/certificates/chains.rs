//! Hides how a chain is made in which the authorities between a certificate and the root are wrong.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, GeneralSubtree, IsCa, Issuer, KeyPair,
    NameConstraints, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::{Authority, Flaw, named, signed};

const BETWEEN: &str = "Test Intermediate";

impl Authority {
    /// The chain with this flaw, where it is one of the authorities between.
    pub(super) fn chain_of_others(
        &self,
        flaw: Flaw,
        params: &CertificateParams,
        key: &KeyPair,
    ) -> Result<Option<Vec<CertificateDer<'static>>>> {
        let mut between = named(BETWEEN);
        between.use_authority_key_identifier_extension = true;
        let mut params = params.clone();
        params.use_authority_key_identifier_extension = true;
        let params = &params;
        match flaw {
            Flaw::ExpiredIntermediate => between.not_after = date_time_ymd(2021, 3, 4),
            Flaw::EarlyIntermediate => between.not_before = date_time_ymd(2998, 3, 4),
            Flaw::NoAuthority => between.is_ca = IsCa::ExplicitNoCa,
            Flaw::Forbidden => {
                between.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName(
                        "elsewhere.example".to_owned(),
                    )],
                    excluded_subtrees: vec![],
                });
            }
            Flaw::TooLong => {
                between.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
                let lower = named("Test Lower Intermediate");
                return Ok(Some(self.below(vec![between, lower], params, key)?));
            }
            Flaw::Gap => {
                let lower = named("Test Lower Intermediate");
                let mut line = self.below(vec![between, lower], params, key)?;
                line.truncate(2);
                return Ok(Some(line));
            }
            Flaw::Twice | Flaw::RootInstead | Flaw::OtherIntermediate | Flaw::OtherKey => {
                let issuer = Issuer::new(between.clone(), KeyPair::generate()?);
                let leaf = signed(params, key, &issuer)?;
                let other = match flaw {
                    Flaw::Twice => leaf.clone(),
                    Flaw::RootInstead => self.issuer.der().clone(),
                    Flaw::OtherKey => self.intermediate(between)?,
                    _ => self.intermediate(named("Test Intermediate of last year"))?,
                };
                return Ok(Some(vec![leaf, other]));
            }
            _ => return Ok(None),
        }
        Ok(Some(self.below(vec![between], params, key)?))
    }

    fn intermediate(&self, params: CertificateParams) -> Result<CertificateDer<'static>> {
        let key = KeyPair::generate()?;
        let issued = CertifiedIssuer::signed_by(params, key, &self.issuer)?;
        Ok(issued.der().clone())
    }
}
